import { expect, test } from "vitest";
import { jsonRoot } from "@/lib/json";
import { jsonCondition, listStep, stepsOf, TreeReader } from "./rows";

function reader(text: string) {
  return new TreeReader(text, jsonRoot(text));
}

test("rows are the open values in order, with paths of the filter language", () => {
  const text = '{"a":{"b c":[10,{"d":null}]},"n":12345678901234567890}';
  const tree = reader(text);
  const rows = tree.rows(tree.firstOpen());
  expect(rows.map((row) => [row.depth, row.key, row.isOpen])).toEqual([
    [0, undefined, true],
    [1, "a", true],
    [2, "b c", true],
    [3, 0, false],
    [3, 1, false],
    [1, "n", false],
  ]);
  const conditions = rows.slice(1).map((row) => jsonCondition(text, stepsOf(row), row.value, false));
  expect(conditions).toEqual([
    "exists data.a",
    'exists data.a["b c"]',
    'data.a["b c"][0] = 10',
    'exists data.a["b c"][1]',
    "data.n = 12345678901234567890",
  ]);
});

test("hostile strings become conditions that the language can read", () => {
  const of = (value: string, isNot = false) => {
    const text = JSON.stringify([value]);
    const row = reader(text).rows(new Map([[0, listStep]]))[1];
    if (!row) throw new Error("no row");
    return jsonCondition(text, stepsOf(row), row.value, isNot);
  };
  expect(of("it's\0 \udce9")).toBe("data[0] = 'it''s\ufffd \ufffd'");
  expect(of("javascript:alert(1)", true)).toBe("not data[0] = 'javascript:alert(1)'");
  expect(of("y".repeat(10_000_000))).toBe(`data[0] startswith '${"y".repeat(1000)}'`);
});

test("long lists are shown a part at a time", () => {
  const tree = reader(`[${"1,".repeat(99_999)}1]`);
  const rows = tree.rows(tree.firstOpen());
  expect(rows.length).toBe(listStep + 2);
  expect(rows.at(-1)?.isMore).toBe(true);
  expect(tree.rows(new Map([[0, 200_000]])).length).toBe(100_001);
});
