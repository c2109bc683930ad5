import { type KeyboardEvent, useRef } from "react";
import { Link } from "wouter";
import type { components } from "@/api/schema";
import { Clock } from "@/components/clock";
import { FailedSign } from "@/components/findings/failed-sign";
import { levelLooks } from "@/components/findings/level";
import { RootNote } from "@/components/findings/root-note";
import { SafeText } from "@/components/safe-text";
import { useShortcut } from "@/hooks/shortcuts";
import { formatCount, plural } from "@/lib/number";
import { viewPath } from "@/lib/view";
import { Sentence } from "./sentence";

type StoryView = components["schemas"]["Story"];
type StoryStep = components["schemas"]["StoryStep"];

interface Props {
  sessionId: string;
  story: StoryView;
  steps: readonly StoryStep[];
  /** The event whose details are open. */
  seq: number | undefined;
  onChoose: (seq: number | undefined) => void;
}

/** What the programs did, a sentence each. The reader chooses a step by a click or by keys. */
export function Story({ sessionId, story, steps, seq, onChoose }: Props) {
  const list = useRef<HTMLOListElement>(null);
  const chosen = steps.findIndex(({ seqs }) => seq !== undefined && seqs.includes(seq));
  const move = (by: number) => {
    const next = Math.min(steps.length - 1, Math.max(0, chosen + by));
    onChoose(steps[next]?.seqs[0]);
    const button = list.current?.querySelectorAll<HTMLElement>("[data-step]")[next];
    button?.scrollIntoView({ block: "nearest" });
    if (list.current?.contains(document.activeElement)) button?.focus({ preventScroll: true });
  };
  useShortcut("j", "Next step", "Summary", () => move(1));
  useShortcut("k", "Previous step", "Summary", () => move(-1));
  useShortcut("Escape", "Close the details", "Summary", () => onChoose(undefined));
  const handleKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else return;
    event.preventDefault();
  };
  return (
    <ol ref={list} aria-label="Steps" onKeyDown={handleKey}>
      {steps.map((step, at) => (
        <li
          key={`${step.first_seq} ${step.kind} ${at}`}
          className={`flex items-baseline border-b border-line ${at === chosen ? "bg-selected" : "hover:bg-hover"}`}
        >
          <button
            type="button"
            data-step
            aria-pressed={at === chosen}
            tabIndex={at === Math.max(0, chosen) ? 0 : -1}
            onClick={() => onChoose(step.seqs[0])}
            className="flex min-w-0 flex-1 items-baseline gap-3 px-3 py-1 text-left -outline-offset-2 max-sm:flex-col max-sm:gap-0"
          >
            <span className="flex shrink-0 gap-3 text-xs text-muted">
              <span className="w-22 font-mono tabular-nums">
                <Clock at={step.first_at} />
              </span>
              <span className="w-32">{step.class}</span>
            </span>
            <span className="min-w-0 flex-1">
              <span className={`wrap-anywhere ${step.ordinary ? "text-muted" : ""}`}>
                <Sentence step={step} home={story.home} />
              </span>
              {step.findings.length > 0 && <Found story={story} places={step.findings} />}
            </span>
          </button>
          <Link
            href={viewPath(
              sessionId,
              "events",
              new URLSearchParams({ filter: `seq in (${step.seqs.join(", ")})` }).toString(),
            )}
            title={
              step.events > step.seqs.length
                ? `The first ${formatCount(step.seqs.length)} of ${plural(step.events, "event")}`
                : undefined
            }
            className="shrink-0 px-3 text-xs text-muted tabular-nums hover:text-accent hover:underline"
          >
            {plural(step.events, "event")}
          </Link>
        </li>
      ))}
    </ol>
  );
}

/** The findings of a step, the most severe first. */
function Found({ story, places }: { story: StoryView; places: readonly number[] }) {
  const found = [...places].sort((a, b) => a - b).flatMap((place) => story.findings[place] ?? []);
  return (
    <span className="block text-xs">
      {found.map((finding) => (
        <span key={finding.rule_id} className="mr-3 inline-block">
          <span className={`rounded px-1 ${levelLooks[finding.level]}`}>{finding.level}</span>{" "}
          <FailedSign finding={finding} />
          <SafeText text={finding.title} limit={120} className="text-muted" />
          <RootNote rootPath={finding.root_path} />
        </span>
      ))}
    </span>
  );
}
