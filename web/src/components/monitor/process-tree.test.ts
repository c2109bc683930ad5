import { expect, test } from "vitest";
import { arrange, matching } from "./process-tree";

const processes = [
  { pid: 1, name: "init" },
  { pid: 5, name: "sh", parent_pid: 1, command_line: "sh -c x" },
  { pid: 9, name: "curl", parent_pid: 5 },
  { pid: 7, name: "cron", parent_pid: 1 },
  { pid: 3, name: "lost", parent_pid: 404 },
];

test("each process is below its parent", () => {
  expect(arrange(processes).map((row) => `${row.depth} ${row.process.name}`)).toEqual([
    "0 init",
    "1 sh",
    "2 curl",
    "1 cron",
    "0 lost",
  ]);
});

test("processes that are each other's parent are shown once", () => {
  const rows = arrange([
    { pid: 1, name: "a", parent_pid: 2 },
    { pid: 2, name: "b", parent_pid: 1 },
    { pid: 3, name: "c", parent_pid: 3 },
  ]);
  expect(rows.map((row) => row.process.pid).toSorted()).toEqual([1, 2, 3]);
});

test("a search keeps the ancestors of its matches", () => {
  expect(matching(processes, "CURL").map((process) => process.pid)).toEqual([1, 5, 9]);
  expect(matching(processes, "-c x").map((process) => process.pid)).toEqual([1, 5]);
  expect(matching(processes, " ")).toHaveLength(5);
});
