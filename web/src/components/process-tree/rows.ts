import type { Process, ProcessRow } from "@/api/client";
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
