import type { ProcessNode } from "@/api/client";
import type { View } from "@/lib/view";

/** A process as a row of the tree on screen. */
export interface ProcessRow {
  node: ProcessNode;
  depth: number;
  isOpen: boolean;
}

/**
 * The rows of a tree in order, without the descendants of closed nodes. A search shows its
 * matches and all their ancestors, open or closed.
 */
export function rowsOf(
  roots: readonly ProcessNode[],
  closed: ReadonlySet<string>,
  search = "",
): ProcessRow[] {
  const wanted = search.trim().toLowerCase();
  const kept = wanted === "" ? undefined : found(roots, wanted);
  const rows: ProcessRow[] = [];
  const waiting = roots.toReversed().map((node) => ({ node, depth: 0 }));
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { node, depth } = next;
    if (kept && !kept.has(node.id)) continue;
    const isOpen = kept !== undefined || !closed.has(node.id);
    rows.push({ node, depth, isOpen });
    if (isOpen)
      for (const child of node.children.toReversed()) waiting.push({ node: child, depth: depth + 1 });
  }
  return rows;
}

/** The ids of the nodes that contain a text, and of their ancestors. */
function found(roots: readonly ProcessNode[], wanted: string): Set<string> {
  const kept = new Set<string>();
  const parents = new Map<string, ProcessNode>();
  for (const node of everyNode(roots)) {
    for (const child of node.children) parents.set(child.id, node);
    const text = `${node.pid} ${node.name} ${node.image} ${node.command_line}`.toLowerCase();
    if (!text.includes(wanted)) continue;
    for (let at: ProcessNode | undefined = node; at && !kept.has(at.id); at = parents.get(at.id))
      kept.add(at.id);
  }
  return kept;
}

/** All nodes, parents before children. */
export function* everyNode(roots: readonly ProcessNode[]): Generator<ProcessNode> {
  const waiting = roots.toReversed();
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    yield node;
    for (const child of node.children.toReversed()) waiting.push(child);
  }
}

/** The selection of a process and its descendants. */
export function selectionOf(node: ProcessNode): NonNullable<View["process"]> {
  return { pid: node.pid, name: node.name, id: node.id };
}

export function isSelected(node: ProcessNode, process: View["process"]): boolean {
  if (process?.id !== undefined) return process.id === node.id;
  return (
    process !== undefined &&
    process.pid === node.pid &&
    (process.from === undefined || process.from === node.first_seen)
  );
}

/** The ids of the processes whose events are selected. */
export function selectedIds(roots: readonly ProcessNode[], process: View["process"]): Set<string> {
  const ids = new Set<string>();
  if (!process) return ids;
  for (const node of everyNode(roots)) {
    if (!isSelected(node, process)) continue;
    const withDescendants = process.id !== undefined && !process.alone;
    for (const { id } of withDescendants ? everyNode([node]) : [node]) ids.add(id);
  }
  return ids;
}
