import { expect, test } from "vitest";
import { kinds, shortTypeLabel, typesOf } from "@/lib/kind";
import {
  addDataColumn,
  columnInfo,
  defaultColumns,
  fieldsOf,
  maxDataColumns,
  moveBefore,
  moveBy,
  readColumns,
  setColumn,
  setWidths,
} from "./columns";

const ids = (columns: readonly { id: string }[]) => columns.map((column) => column.id);

test("stored columns are read, and invalid ones ignored", () => {
  expect(readColumns(undefined)).toBe(defaultColumns);
  expect(readColumns([null, 3, { id: "evil" }])).toEqual(defaultColumns);
  const read = readColumns([
    { id: "target", width: 1e9, isShown: true },
    { id: "target", width: 10, isShown: false },
    { id: "seq", width: "x", isShown: false },
  ]);
  expect(ids(read).filter((id) => id === "target" || id === "seq")).toEqual(["target", "seq"]);
  expect(ids(read).toSorted()).toEqual(ids(defaultColumns).toSorted());
  expect(read.find(({ id }) => id === "target")).toEqual({ id: "target", width: 1600, isShown: true });
  expect(read.find(({ id }) => id === "seq")).toEqual({ id: "seq", width: 72, isShown: false });
  expect(readColumns(defaultColumns.map((column) => ({ ...column, isShown: false })))).toBe(defaultColumns);
});

test("the type column fits every known type", () => {
  const badgeGapAndPadding = 38;
  const characterWidth = 7.4; // the mean of DejaVu Sans at 13 px
  const labels = Object.values(kinds).flatMap(({ kind }) => typesOf(kind).map(shortTypeLabel));
  const longest = Math.max(...labels.map((label) => label.length));
  expect(columnInfo("type").width).toBeGreaterThanOrEqual(badgeGapAndPadding + longest * characterWidth);
});

test("columns move among those that are shown", () => {
  expect(ids(moveBefore(defaultColumns, "target", "seq")).slice(0, 3)).toEqual(["target", "seq", "time"]);
  expect(moveBy(defaultColumns, "seq", -1)).toBe(defaultColumns);
  expect(ids(moveBy(defaultColumns, "seq", 1)).slice(0, 2)).toEqual(["time", "seq"]);
  const hidden = defaultColumns.map((column) =>
    column.id === "time" ? { ...column, isShown: false } : column,
  );
  expect(ids(moveBy(hidden, "seq", 1).filter((column) => column.isShown)).slice(0, 2)).toEqual([
    "delta",
    "seq",
  ]);
});

test("widths have bounds, and a column without one has its usual width", () => {
  const of = (change: Record<string, number>) =>
    setWidths(defaultColumns.slice(0, 2), () => change).map(({ width }) => width);
  expect(of({ seq: -5, time: 1e9 })).toEqual([36, 1600]);
  expect(of({ seq: Number.NaN, time: 100.4 })).toEqual([36, 100]);
  expect(of({ seq: 50 })).toEqual([50, 130]);
});

test("a new column comes to readers with stored columns, where it is by default", () => {
  const stored = defaultColumns.filter(({ id }) => id !== "result");
  expect(readColumns(stored)).toEqual(defaultColumns);
  const read = ids(readColumns(stored.toReversed()));
  expect(read[read.indexOf("operation") + 1]).toBe("result");
});

test("values of the data are columns, by paths that the backend takes", () => {
  const odd = 'data["a key\u202e"]';
  const added = [
    odd,
    "data.a.b[0]",
    "data.a.b[0]",
    "data.a..b",
    "data",
    'data["\ud800"]',
    "data.a,data.b",
  ].reduce(addDataColumn, defaultColumns);
  const own = ids(added).filter((id) => id.startsWith("data"));
  expect(own).toEqual([odd, "data.a.b[0]"]);
  expect(readColumns(JSON.parse(JSON.stringify(added)))).toEqual(added);
  expect(fieldsOf(added)).toMatch(/^data\.error,.*,data\["a key\u202e"\],data\.a\.b\[0\]$/);
  expect(ids(setColumn(added, "data.a.b[0]", { isShown: false }))).not.toContain("data.a.b[0]");
  const many = Array.from({ length: 30 }, (_, i) => `data.f${i}`).reduce(addDataColumn, defaultColumns);
  expect(many).toHaveLength(defaultColumns.length + maxDataColumns);
  expect(fieldsOf(many).split(",")).toHaveLength(24);
  expect(fieldsOf(setColumn(defaultColumns, "result", { isShown: false }).filter((c) => c.isShown))).toBe("");
});
