import { type ColumnSpec, maxWidth, minWidth, type Widths } from "@/components/table/use-columns";
import { isDataPath } from "@/lib/filter";
import { resultFields } from "./result";

const builtIn = [
  "seq",
  "time",
  "delta",
  "type",
  "process",
  "pid",
  "operation",
  "result",
  "target",
  "preview",
  "source",
] as const;
type BuiltIn = (typeof builtIn)[number];
/** The path to a value in the data, as filters write it. */
export type DataColumn = `data${string}`;
export type ColumnId = BuiltIn | DataColumn;

interface ColumnInfo extends ColumnSpec {
  id: ColumnId;
  hint: string;
}

const builtInInfo: Record<BuiltIn, Omit<ColumnInfo, "id">> = {
  seq: { label: "#", hint: "Number in the session", width: 72, align: "right" },
  time: { label: "Time", hint: "Time of the event", width: 130, phone: 66 },
  delta: { label: "Δ", hint: "Time since the event above", width: 76, align: "right" },
  type: { label: "Type", hint: "Type of event", width: 172, phone: 24 },
  process: { label: "Process", hint: "Name of the process", width: 120, phone: 60 },
  pid: { label: "PID", hint: "Process ID", width: 64, align: "right" },
  operation: { label: "Operation", hint: "What the process did", width: 124, phone: 68 },
  result: { label: "Result", hint: "Error, exit code or status", width: 116, phone: 74 },
  target: { label: "Target", hint: "What the operation acted on", width: 330, phone: 98 },
  preview: { label: "Data", hint: "Beginning of the event's data", width: 220 },
  source: { label: "Source", hint: "Program that reported the event", width: 140 },
};

export function columnInfo(id: ColumnId): ColumnInfo {
  if (!isDataColumn(id)) return { id, ...builtInInfo[id] };
  return { id, label: id.replace(/^data\.?/, ""), hint: `The value of ${id}`, width: 160 };
}

export interface Column {
  id: ColumnId;
  width: number;
  isShown: boolean;
}

/** The most columns of data: the backend returns at most 24 fields, of which the result has nine. */
export const maxDataColumns = 15;

export const defaultColumns: readonly Column[] = builtIn.map((id) => ({
  id,
  width: builtInInfo[id].width,
  isShown: id !== "source",
}));

/** Reads the stored columns. It skips unknown columns, and puts missing ones where they are by default. */
export function readColumns(stored: unknown): readonly Column[] {
  if (!Array.isArray(stored)) return defaultColumns;
  const columns: Column[] = [];
  for (const entry of stored as unknown[]) {
    const { id, width, isShown } = (entry ?? {}) as Partial<Record<keyof Column, unknown>>;
    if (!isColumnId(id) || columns.some((column) => column.id === id)) continue;
    if (isDataColumn(id) && columns.filter((column) => isDataColumn(column.id)).length === maxDataColumns)
      continue;
    columns.push({
      id,
      width: typeof width === "number" ? clampWidth(width) : columnInfo(id).width,
      isShown: isShown !== false,
    });
  }
  for (const [index, column] of defaultColumns.entries()) {
    if (columns.some((other) => other.id === column.id)) continue;
    const before = columns.findIndex((other) => other.id === defaultColumns[index - 1]?.id);
    columns.splice(before + 1, 0, column);
  }
  return columns.some((column) => column.isShown) ? columns : defaultColumns;
}

function isColumnId(id: unknown): id is ColumnId {
  return typeof id === "string" && ((builtIn as readonly string[]).includes(id) || isDataPath(id));
}

export function isDataColumn(id: ColumnId): id is DataColumn {
  return id.startsWith("data");
}

/** Adds a column of data before the target, where it is in sight; nothing if there are too many. */
export function addDataColumn(columns: readonly Column[], path: string): readonly Column[] {
  const id = path as DataColumn;
  const count = columns.filter((column) => isDataColumn(column.id)).length;
  if (!isDataPath(path) || count >= maxDataColumns || columns.some((column) => column.id === id))
    return columns;
  const at = columns.findIndex((column) => column.id === "target");
  return columns.toSpliced(at, 0, { id, width: columnInfo(id).width, isShown: true });
}

export function setColumn(
  columns: readonly Column[],
  id: ColumnId,
  change: Partial<Omit<Column, "id">>,
): readonly Column[] {
  // A hidden column of data is of no use: its place is not by default.
  if (change.isShown === false && isDataColumn(id)) return columns.filter((column) => column.id !== id);
  return columns.map((column) => (column.id === id ? { ...column, ...change } : column));
}

/** The fields that the backend must send for these columns, separated by commas. */
export function fieldsOf(columns: readonly Column[]): string {
  const ids = columns.map((column) => column.id);
  return [...(ids.includes("result") ? resultFields : []), ...ids.filter(isDataColumn)].join(",");
}

function clampWidth(width: number): number {
  return Math.round(Math.max(minWidth, Math.min(width, maxWidth))) || minWidth;
}

export function widthsOf(columns: readonly Column[]): Widths {
  return Object.fromEntries(columns.map(({ id, width }) => [id, width]));
}

/** Changes the widths. A column that has none gets its usual width. */
export function setWidths(columns: readonly Column[], change: (now: Widths) => Widths): readonly Column[] {
  const widths = change(widthsOf(columns));
  return columns.map((column) => ({
    ...column,
    width: clampWidth(widths[column.id] ?? columnInfo(column.id).width),
  }));
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

/** The columns on a phone; the reader's choice does not apply. */
export const narrowColumns = defaultColumns.filter(({ id }) => columnInfo(id).phone !== undefined);
