import type { Process, ProcessRow } from "@/api/client";
import type { FindingMark, PlacedMark } from "@/hooks/findings";
import { toMicros } from "@/lib/time";
import type { View } from "@/lib/view";

/** The selection of a process and its descendants. */
export function selectionOf(node: Process): NonNullable<View["process"]> {
  return { pid: node.pid, name: node.name, id: node.id };
}

/** The counts of a row's events by type; only of the selected ones if the tree is filtered. */
export function countsOf(row: ProcessRow, isFiltered: boolean): Record<string, number> {
  return isFiltered ? (row.selected_counts ?? {}) : row.event_counts;
}

export function countOf(row: ProcessRow, isFiltered: boolean): number {
  return Object.values(countsOf(row, isFiltered)).reduce((sum, count) => sum + count, 0);
}

const levels: readonly FindingMark["level"][] = ["critical", "high", "medium", "low", "informational"];

/** The findings that point to events of a process, as one mark. */
export function markOf(marks: readonly PlacedMark[], row: ProcessRow): FindingMark | undefined {
  const [from, to] = [toMicros(row.started_at), toMicros(row.last_seen)];
  const own = marks.filter(({ pid, at }) => pid === row.pid && from <= at && at <= to);
  const level = levels.find((level) => own.some((mark) => mark.level === level));
  return level && { level, text: [...new Set(own.flatMap(({ text }) => text.split("; ")))].join("; ") };
}
