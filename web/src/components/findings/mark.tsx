import type { FindingMark } from "@/hooks/findings";

// The sign differs too: the color alone does not tell the level.
const signs: Record<FindingMark["level"], { sign: string; ink: string; bar: string }> = {
  critical: { sign: "‼", ink: "text-bad font-bold", bar: "bg-bad" },
  high: { sign: "!", ink: "text-bad font-bold", bar: "bg-bad" },
  medium: { sign: "▲", ink: "text-warn", bar: "bg-warn" },
  low: { sign: "△", ink: "text-ink", bar: "bg-line-strong" },
  informational: { sign: "·", ink: "text-muted", bar: "bg-line-strong" },
};

/** The sign and the colors of a level. */
export const signOf = (level: FindingMark["level"]) => signs[level];

/** The sign that a finding points to something. It says which to a pointer and to a screen reader. */
export function FindingSign({ mark }: { mark: FindingMark }) {
  const { sign, ink } = signs[mark.level];
  return (
    <span title={`Finding, ${mark.text}`} className={`inline-block w-3.5 shrink-0 text-center ${ink}`}>
      <span aria-hidden>{sign}</span>
      <span className="sr-only">Finding, {mark.text}. </span>
    </span>
  );
}
