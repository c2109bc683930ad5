import type { ReactNode } from "react";
import { Link } from "wouter";
import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { formatBytes, formatCount, plural } from "@/lib/number";
import { viewPath } from "@/lib/view";
import { atHome } from "./sentence";

type Section = components["schemas"]["StorySection"];

const names: Record<Section["kind"], string> = {
  destinations: "Destinations",
  executed: "Files executed",
  written: "Files written",
  deleted: "Files deleted",
  refused: "Refused",
};

interface Props {
  sessionId: string;
  home: string;
  sections: readonly Section[];
  /** Sections that come before these. */
  children?: ReactNode;
}

/** The addresses and files that the programs dealt with, in a list for each kind. */
export function Sections({ sessionId, home, sections, children }: Props) {
  return (
    <div className="grid gap-x-6 gap-y-3 px-3 py-2 md:grid-cols-2 2xl:grid-cols-3">
      {children}
      {sections
        .filter(({ total }) => total > 0)
        .map((section) => (
          <OneSection key={section.kind} sessionId={sessionId} home={home} section={section} />
        ))}
    </div>
  );
}

function OneSection({ sessionId, home, section }: { sessionId: string; home: string; section: Section }) {
  const { kind, total, objects } = section;
  return (
    <SectionBox name={names[kind]} total={total} shown={objects.length}>
      {objects.map(({ text, programs, note, bytes, events, seqs }) => (
        <SectionRow key={text}>
          <span className="min-w-0 flex-1 truncate">
            <SafeText text={atHome(text, home)} limit={160} className="font-mono" />
            {note !== "" && (
              <>
                {" "}
                <SafeText text={note} limit={80} className="text-muted" />
              </>
            )}
          </span>
          <span className="max-w-1/3 truncate text-muted">
            <SafeText text={programs.join(", ")} limit={80} />
          </span>
          {kind === "written" && bytes > 0 && (
            <span className="shrink-0 text-muted tabular-nums">{formatBytes(bytes)}</span>
          )}
          <Link
            href={viewPath(
              sessionId,
              "events",
              new URLSearchParams({ filter: `seq in (${seqs.join(", ")})` }).toString(),
            )}
            className="shrink-0 text-accent tabular-nums hover:underline"
          >
            {plural(events, "event")}
          </Link>
        </SectionRow>
      ))}
    </SectionBox>
  );
}

interface BoxProps {
  name: string;
  total: number;
  /** How many of them have rows. */
  shown: number;
  /** Leads to all of them. */
  link?: ReactNode;
  children: ReactNode;
}

/** A list below the story. */
export function SectionBox({ name, total, shown, link, children }: BoxProps) {
  return (
    <section aria-label={name} className="min-w-0 text-xs">
      <h2 className="mb-0.5 flex items-baseline gap-1 text-2xs font-semibold tracking-wide text-muted uppercase">
        {name} <span className="tabular-nums">{formatCount(total)}</span>
        {link && <span className="ml-auto font-normal tracking-normal normal-case">{link}</span>}
      </h2>
      <ul className="max-h-56 overflow-auto rounded-md border border-line bg-surface">
        {children}
        {shown < total && (
          <li className="px-2 py-0.5 text-muted">{`${formatCount(total - shown)} more are not shown.`}</li>
        )}
      </ul>
    </section>
  );
}

export function SectionRow({ children }: { children: ReactNode }) {
  return (
    <li className="flex items-baseline gap-2 border-b border-line px-2 py-0.5 last:border-0">{children}</li>
  );
}
