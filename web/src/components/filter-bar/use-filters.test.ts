import { afterEach, expect, test } from "vitest";
import {
  deleteFilter,
  forgetRecent,
  recentFilters,
  reloadFilters,
  rememberFilter,
  renameFilter,
  saveFilter,
} from "./filter-store";

const stored = () => JSON.parse(localStorage.getItem("ospulse.filters") ?? "{}");

afterEach(() => {
  localStorage.clear();
  reloadFilters();
});

test("the last twenty filters are kept, the latest first, each once", () => {
  for (let i = 0; i < 30; i++) rememberFilter(`pid = ${i}`);
  rememberFilter("pid = 20");
  rememberFilter(" ");
  expect(recentFilters()).toHaveLength(20);
  expect(recentFilters().slice(0, 2)).toEqual(["pid = 20", "pid = 29"]);
  expect(stored().recent).toEqual(recentFilters());
  forgetRecent();
  expect(stored().recent).toEqual([]);
});

test("filters are saved, renamed and deleted by their names", () => {
  saveFilter("a", "pid = 1");
  saveFilter("b", "pid = 2");
  saveFilter("a", "pid = 3");
  expect(stored().saved).toEqual([
    { name: "a", filter: "pid = 3" },
    { name: "b", filter: "pid = 2" },
  ]);
  expect(renameFilter("a", "b")).toBe(false);
  expect(renameFilter("a", "")).toBe(false);
  expect(renameFilter("a", "c")).toBe(true);
  deleteFilter("b");
  expect(stored().saved).toEqual([{ name: "c", filter: "pid = 3" }]);
});

test("invalid stored data does no harm", () => {
  localStorage.setItem(
    "ospulse.filters",
    JSON.stringify({ recent: [1, "x", null], saved: [{ name: 1 }, 5] }),
  );
  reloadFilters();
  expect(recentFilters()).toEqual(["x"]);
  localStorage.setItem("ospulse.filters", "{");
  reloadFilters();
  expect(recentFilters()).toEqual([]);
});
