import { expect, test } from "vitest";
import type { ProcessRow } from "@/api/client";
import { countOf, countsOf } from "./rows";

test("a filtered tree counts the selected events", () => {
  const row = { event_counts: { a: 3, b: 4 }, selected_counts: { b: 2 } } as unknown as ProcessRow;
  expect(countOf(row, false)).toBe(7);
  expect(countOf(row, true)).toBe(2);
  expect(countsOf({ ...row, selected_counts: undefined }, true)).toEqual({}); // an ancestor
});
