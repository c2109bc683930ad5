import { expect, test } from "vitest";
import { kinds, shortTypeLabel, typesOf } from "@/lib/kind";
import {
  clampWidth,
  columnIds,
  columnInfo,
  defaultColumns,
  gridTemplate,
  moveBefore,
  moveBy,
  readColumns,
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
  expect(ids(read).slice(0, 2)).toEqual(["target", "seq"]);
  expect(ids(read).toSorted()).toEqual([...columnIds].toSorted());
  expect(read[0]).toEqual({ id: "target", width: 1600, isShown: true });
  expect(read[1]).toEqual({ id: "seq", width: 72, isShown: false });
  expect(readColumns(defaultColumns.map((column) => ({ ...column, isShown: false })))).toBe(defaultColumns);
});

test("the type column fits every known type", () => {
  const badgeGapAndPadding = 38;
  const characterWidth = 7.4; // the mean of DejaVu Sans at 13 px
  const labels = Object.values(kinds).flatMap(({ kind }) => typesOf(kind).map(shortTypeLabel));
  const longest = Math.max(...labels.map((label) => label.length));
  expect(columnInfo.type.width).toBeGreaterThanOrEqual(badgeGapAndPadding + longest * characterWidth);
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

test("widths have bounds, and the last column takes the rest", () => {
  expect([clampWidth(-5), clampWidth(Number.NaN), clampWidth(100.4)]).toEqual([36, 36, 100]);
  expect(gridTemplate(defaultColumns.slice(0, 2))).toBe("72px minmax(130px, 1fr)");
});
