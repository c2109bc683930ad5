import { act, renderHook } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { type Filters, useFilters } from "./use-filters";

const name = "ospulse.filters";
const stored = () => JSON.parse(localStorage.getItem(name) ?? "{}");

/** Shows the hook; run calls a function with its current value. */
function show() {
  const { result } = renderHook(useFilters);
  return {
    filters: () => result.current,
    run: <T>(call: (filters: Filters) => T): T => {
      let answer: T | undefined;
      act(() => {
        answer = call(result.current);
      });
      return answer as T;
    },
  };
}

afterEach(() => localStorage.clear());

test("the last twenty filters are kept, the latest first, each once", () => {
  const { filters, run } = show();
  for (let i = 0; i < 30; i++) run(({ remember }) => remember(`pid = ${i}`));
  run(({ remember }) => remember("pid = 20"));
  run(({ remember }) => remember(" "));
  expect(filters().recent).toHaveLength(20);
  expect(filters().recent.slice(0, 2)).toEqual(["pid = 20", "pid = 29"]);
  expect(stored().recent).toEqual(filters().recent);
  expect(show().filters().recent).toEqual(filters().recent);
  run(({ forgetRecent }) => forgetRecent());
  expect(stored().recent).toEqual([]);
});

test("filters are saved, renamed and deleted by their names", () => {
  const { run } = show();
  run(({ save }) => save("a", "pid = 1"));
  run(({ save }) => save("b", "pid = 2"));
  run(({ save }) => save("a", "pid = 3"));
  expect(stored().saved).toEqual([
    { name: "a", filter: "pid = 3" },
    { name: "b", filter: "pid = 2" },
  ]);
  expect(run(({ rename }) => rename("a", "b"))).toBe(false);
  expect(run(({ rename }) => rename("a", ""))).toBe(false);
  expect(run(({ rename }) => rename("a", "c"))).toBe(true);
  run(({ remove }) => remove("b"));
  expect(stored().saved).toEqual([{ name: "c", filter: "pid = 3" }]);
});

test("a change in another tab applies at once", () => {
  const { filters, run } = show();
  localStorage.setItem(name, JSON.stringify({ recent: ["pid = 1"], saved: [] }));
  run(() => dispatchEvent(new StorageEvent("storage", { key: "other" })));
  expect(filters().recent).toEqual([]);
  run(() => dispatchEvent(new StorageEvent("storage", { key: name })));
  expect(filters().recent).toEqual(["pid = 1"]);
});

test.each([
  ["{", []],
  ["5", []],
  ["null", []],
  [JSON.stringify({ recent: [1, "x", null], saved: [{ name: 1 }, 5] }), ["x"]],
])("invalid stored data does no harm: %s", (text, recent) => {
  localStorage.setItem(name, text);
  const { filters } = show();
  expect(filters()).toMatchObject({ recent, saved: [] });
});
