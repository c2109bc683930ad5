import { Shield, ShieldAlert, ShieldCheck, ShieldX } from "lucide-react";
import type { SessionDetail } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Panel } from "@/components/ui/panel";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { formatCount, plural } from "@/lib/number";
import { formatClock } from "@/lib/time";

type State = SessionDetail["completeness"];

const looks = {
  good: { Icon: ShieldCheck, color: "text-good" },
  bad: { Icon: ShieldAlert, color: "text-bad" },
  failed: { Icon: ShieldX, color: "text-bad" },
  empty: { Icon: Shield, color: "text-muted" },
};

interface Props {
  state: SessionDetail["state"];
  completeness: State;
}

/** Whether all events are stored, and if not, which are missing and when they happened. */
export function Completeness({ state, completeness }: Props) {
  const { look, text } = summary(state, completeness);
  const { Icon, color } = looks[look];
  return (
    <Panel
      label="Completeness"
      trigger={
        <button
          type="button"
          className={`inline-flex items-center gap-1.5 rounded px-1 hover:bg-hover ${color}`}
        >
          <Icon size={15} aria-hidden />
          <span className="tabular-nums">{text}</span>
        </button>
      }
    >
      {look === "failed" || look === "empty" ? <p>{text}.</p> : <Details completeness={completeness} />}
    </Panel>
  );
}

/** Describes the completeness. A session without events is never "good": there is nothing to be complete. */
export function summary(
  state: Props["state"],
  { complete, expected, present, damaged, lost }: State,
): { look: keyof typeof looks; text: string } {
  if (complete && expected === 0) {
    return state === "failed"
      ? { look: "failed", text: "The start failed; no events were recorded" }
      : { look: "empty", text: "No events" };
  }
  const count = `${formatCount(present)} of ${plural(expected, "event")}`;
  if (complete) return { look: "good", text: `${count}, none lost` };
  const faults = [];
  if (present < expected) faults.push(`${formatCount(expected - present)} missing here`);
  const unreadable = damaged.reduce((n, span) => n + span.last_seq - span.first_seq + 1, 0);
  if (unreadable > 0) faults.push(`${formatCount(unreadable)} damaged here`);
  if (lost > 0) faults.push(`${formatCount(lost)} lost on the way`);
  return { look: "bad", text: `${count}, ${faults.join(", ") || "not complete"}` };
}

function Details({ completeness }: { completeness: State }) {
  const { zone } = useSettings();
  const { change } = useView();
  if (completeness.complete) {
    return (
      <p>
        Every number from 1 to {formatCount(completeness.expected)} is stored, and no agent reported a loss.
        The agent reported no other events.
      </p>
    );
  }
  return (
    <div className="flex flex-col gap-3">
      <Spans title="Not stored here" spans={completeness.missing} />
      <Spans title="Stored, but damaged: they cannot be read" spans={completeness.damaged} />
      {completeness.losses.length > 0 && (
        <section>
          <h3 className="font-medium">Lost before they reached the backend</h3>
          <p className="text-xs text-muted">As the agent reported it, newest first.</p>
          <ul className="mt-1 flex flex-col gap-0.5">
            {completeness.losses.map((loss) => (
              <li key={loss.seq}>
                <button
                  type="button"
                  className="w-full rounded px-1 text-left text-xs hover:bg-hover"
                  onClick={() => change({ seq: loss.seq }, { push: true })}
                >
                  <span className="font-medium tabular-nums">{formatCount(loss.count)}</span>{" "}
                  {loss.from && loss.to
                    ? `from ${formatClock(loss.from, zone)} to ${formatClock(loss.to, zone)}`
                    : `reported ${formatClock(loss.timestamp, zone)}`}
                  {loss.reason && (
                    <>
                      {" · "}
                      <SafeText text={loss.reason.replaceAll("_", " ")} limit={80} />
                    </>
                  )}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

/** A list of ranges of events, if there are any. */
function Spans({ title, spans }: { title: string; spans: State["missing"] }) {
  if (spans.length === 0) return null;
  return (
    <section>
      <h3 className="font-medium">{title}</h3>
      <ul className="text-xs text-muted">
        {spans.map((span) => (
          <li key={span.first_seq}>
            {formatCount(span.first_seq)} to {formatCount(span.last_seq)}
          </li>
        ))}
      </ul>
    </section>
  );
}
