import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { changesOf, Result } from "./audit-table";

afterEach(cleanup);

test.each([
  ["finished", "", "done"],
  ["finished", "not_found", "not found"],
  ["not finished", "", "not finished"],
] as const)("an action that is %s with the code %j", (state, code, text) => {
  render(<Result entry={{ state, code }} />);
  expect(screen.getByText(text)).toBeDefined();
  expect(screen.queryByText(/may have had its effect/) !== null).toBe(state === "not finished");
});

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
