import { expect, test } from "vitest";
import type { ProcessNode } from "@/api/client";
import { isSelected, rowsOf, selectedIds, selectionOf } from "./rows";

function node(id: string, pid: number, children: ProcessNode[] = []): ProcessNode {
  return {
    id,
    pid,
    parent_id: null,
    parent_pid: null,
    started_at: "2026-01-01T00:00:00Z",
    start_known: true,
    name: `p${id}`,
    image: "",
    command_line: "",
    first_seen: `2026-01-01T00:00:0${id}Z`,
    last_seen: "2026-01-01T00:00:09Z",
    event_count: 0,
    event_counts: {},
    children,
  };
}

const tree = [node("1", 10, [node("2", 20, [node("3", 30)]), node("4", 40)]), node("5", 20)];
const names = (rows: ReturnType<typeof rowsOf>) => rows.map((row) => "  ".repeat(row.depth) + row.node.name);

test("rows follow the tree, without descendants of closed nodes", () => {
  expect(names(rowsOf(tree, new Set()))).toEqual(["p1", "  p2", "    p3", "  p4", "p5"]);
  expect(names(rowsOf(tree, new Set(["2"])))).toEqual(["p1", "  p2", "  p4", "p5"]);
});

test("a search shows matches with ancestors, also below closed nodes", () => {
  expect(names(rowsOf(tree, new Set(["1"]), "P3"))).toEqual(["p1", "  p2", "    p3"]);
  expect(names(rowsOf(tree, new Set(), "40"))).toEqual(["p1", "  p4"]);
});

test("a selection is the process and its descendants, or the process alone", () => {
  const first = tree[0]?.children[0] as ProcessNode;
  const selection = selectionOf(first);
  expect(isSelected(first, selection)).toBe(true);
  expect(isSelected(tree[1] as ProcessNode, selection)).toBe(false); // of the same pid
  expect([...selectedIds(tree, selection)]).toEqual(["2", "3"]);
  expect([...selectedIds(tree, { ...selection, alone: true })]).toEqual(["2"]);
  expect([...selectedIds(tree, { pid: 20, name: "" })]).toEqual(["2", "5"]);
  expect([...selectedIds(tree, undefined)]).toEqual([]);
});

test("ten thousand levels do not overflow the stack", () => {
  let deep = node("0", 0);
  for (let i = 1; i < 10_000; i++) deep = node(String(i), i, [deep]);
  expect(rowsOf([deep], new Set())).toHaveLength(10_000);
  expect(rowsOf([deep], new Set(), "p0")).toHaveLength(10_000);
});
