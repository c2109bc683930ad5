import type { Level } from "@/api/client";

/** The levels, the most severe first. */
export const levels: readonly Level[] = ["critical", "high", "medium", "low", "informational"];

/** The classes of a level. The sign differs too: the color alone does not tell the level. */
export const levelLooks: Record<Level, string> = {
  critical: "bg-bad text-page before:content-['!!_'/'']",
  high: "bg-bad-soft text-bad before:content-['!_'/'']",
  medium: "text-warn font-medium",
  low: "text-ink",
  informational: "text-muted",
};
