import { useCallback, useMemo, useState } from "react";
import { readStored, writeStored } from "@/hooks/settings";

export const columnIds = [
  "seq",
  "time",
  "delta",
  "type",
  "process",
  "pid",
  "operation",
  "target",
  "preview",
  "source",
] as const;
export type ColumnId = (typeof columnIds)[number];

interface ColumnInfo {
  label: string;
  /** Explains the label. */
  hint: string;
  width: number;
  align?: "right";
}

export const columnInfo: Record<ColumnId, ColumnInfo> = {
  seq: { label: "#", hint: "Number in the session", width: 72, align: "right" },
  time: { label: "Time", hint: "Time of the event", width: 130 },
  delta: { label: "Δ", hint: "Time since the event above", width: 76, align: "right" },
  type: { label: "Type", hint: "Type of event", width: 172 },
  process: { label: "Process", hint: "Name of the process", width: 120 },
  pid: { label: "PID", hint: "Process ID", width: 64, align: "right" },
  operation: { label: "Operation", hint: "What the process did", width: 124 },
  target: { label: "Target", hint: "What the operation acted on", width: 330 },
  preview: { label: "Data", hint: "Beginning of the event's data", width: 280 },
  source: { label: "Source", hint: "Program that reported the event", width: 140 },
};

export interface Column {
  id: ColumnId;
  width: number;
  isShown: boolean;
}

export const minWidth = 36;
export const maxWidth = 1600;
const storeName = "ospulse.events.columns";

export const defaultColumns: readonly Column[] = columnIds.map((id) => ({
  id,
  width: columnInfo[id].width,
  isShown: id !== "source",
}));

/** Reads the stored columns. It skips unknown columns and appends missing ones. */
export function readColumns(stored: unknown): readonly Column[] {
  if (!Array.isArray(stored)) return defaultColumns;
  const columns: Column[] = [];
  for (const entry of stored as unknown[]) {
    const { id, width, isShown } = (entry ?? {}) as Partial<Record<keyof Column, unknown>>;
    if (!isColumnId(id) || columns.some((column) => column.id === id)) continue;
    columns.push({
      id,
      width: typeof width === "number" ? clampWidth(width) : columnInfo[id].width,
      isShown: isShown !== false,
    });
  }
  for (const column of defaultColumns)
    if (!columns.some((other) => other.id === column.id)) columns.push(column);
  return columns.some((column) => column.isShown) ? columns : defaultColumns;
}

function isColumnId(id: unknown): id is ColumnId {
  return (columnIds as readonly unknown[]).includes(id);
}

export function clampWidth(width: number): number {
  return Math.round(Math.max(minWidth, Math.min(width, maxWidth))) || minWidth;
}

/** Moves a column before another one. */
export function moveBefore(columns: readonly Column[], id: ColumnId, before: ColumnId): readonly Column[] {
  const moved = columns.find((column) => column.id === id);
  if (!moved || id === before) return columns;
  const rest = columns.filter((column) => column.id !== id);
  const at = rest.findIndex((column) => column.id === before);
  return rest.toSpliced(at, 0, moved);
}

/** Moves a column by one place among the shown columns. */
export function moveBy(columns: readonly Column[], id: ColumnId, by: -1 | 1): readonly Column[] {
  const shown = columns.filter((column) => column.isShown);
  const at = shown.findIndex((column) => column.id === id);
  const other = shown[at + by];
  if (!other) return columns;
  return by < 0 ? moveBefore(columns, id, other.id) : moveBefore(columns, other.id, id);
}

export interface ColumnState {
  all: readonly Column[];
  shown: readonly Column[];
  change: (next: (columns: readonly Column[]) => readonly Column[]) => void;
  reset: () => void;
}

/** The reader's columns, stored in this browser. */
export function useColumns(): ColumnState {
  const [all, setAll] = useState(() => readColumns(readStored(storeName)));
  const change = useCallback<ColumnState["change"]>((next) => {
    setAll((now) => {
      const columns = next(now);
      const kept = columns.some((column) => column.isShown) ? columns : now;
      writeStored(storeName, kept);
      return kept;
    });
  }, []);
  return useMemo(
    () => ({
      all,
      shown: all.filter((column) => column.isShown),
      change,
      reset: () => change(() => defaultColumns),
    }),
    [all, change],
  );
}

/** The columns on a phone; the reader's choice does not apply. */
export const narrowColumns: readonly Column[] = [
  { id: "time", width: 76, isShown: true },
  { id: "type", width: 30, isShown: true },
  { id: "process", width: 74, isShown: true },
  { id: "operation", width: 84, isShown: true },
  { id: "target", width: 120, isShown: true },
];

/** The widths as grid-template-columns; the last column takes the rest. */
export function gridTemplate(columns: readonly Column[]): string {
  return columns
    .map(({ width }, index) => (index === columns.length - 1 ? `minmax(${width}px, 1fr)` : `${width}px`))
    .join(" ");
}
