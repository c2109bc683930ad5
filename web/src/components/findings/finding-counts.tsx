import { Link } from "wouter";
import type { Session } from "@/api/client";
import { formatShort } from "@/lib/number";
import { viewPath } from "@/lib/view";
import { levels } from "./level";
import { LevelBadge } from "./level-badge";

type Counts = Session["findings"];

/** The levels with findings, the most severe first: [["high", 2], ["low", 1]]. */
function countsOf(findings: Counts) {
  return levels.flatMap((level) => (findings[level] > 0 ? [[level, findings[level]] as const] : []));
}

/** How many findings a session has: of the highest level, and below that of the others. It leads to them. */
export function FindingCounts({ session }: { session: Pick<Session, "id" | "findings"> }) {
  const [highest, ...others] = countsOf(session.findings);
  if (!highest) return <span className="text-muted">–</span>;
  const [level, count] = highest;
  const all = countsOf(session.findings)
    .map(([of, n]) => `${n} ${of}`)
    .join(", ");
  return (
    <Link
      href={viewPath(session.id, "findings")}
      aria-label={`Findings: ${all}`}
      title={`Findings: ${all}`}
      className="relative z-1 inline-block max-w-full rounded align-middle text-xs hover:underline"
    >
      <span className="block truncate">
        <LevelBadge level={level}>{formatShort(count)} </LevelBadge>
      </span>
      {others.length > 0 && (
        <span className="block truncate px-1 text-2xs text-muted max-md:hidden">
          {others.map(([of, n]) => `${formatShort(n)} ${of === "informational" ? "info" : of}`).join(", ")}
        </span>
      )}
    </Link>
  );
}
