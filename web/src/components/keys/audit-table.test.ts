import { expect, test } from "vitest";
import { changesOf } from "./audit-table";

test("a change shows the members that differ", () => {
  expect(
    changesOf({ before: { name: "a", tags: [], keep: false }, after: { name: "b", tags: [], keep: false } }),
  ).toEqual(['name: "a" → "b"']);
  expect(changesOf({ before: { notes: "long" }, after: { notes: "gone" } })).toEqual([
    'notes: "long" → "gone"',
  ]);
});

test("without a state before, it shows what was set", () => {
  expect(changesOf({ before: null, after: { mode: 3, arguments: [], network: "" } })).toEqual(["mode: 3"]);
  expect(changesOf({ before: null, after: null })).toEqual([]);
  expect(changesOf({ before: null, after: "17000 bytes, not kept" })).toEqual([]);
});
