import { condition, dataPath } from "@/lib/filter";
import { type JsonEntry, type JsonValue, jsonEntries, jsonString } from "@/lib/json";

/** A row of the tree: a value, or the number of hidden entries of a container. */
export interface TreeRow {
  key: string | number | undefined;
  value: JsonValue;
  depth: number;
  parent: TreeRow | undefined;
  isOpen: boolean;
  /** Set on the row below a container whose entries are not all shown. */
  isMore?: true;
}

export const listStep = 1000;

/** The open containers: their offset in the text, and the number of shown entries. */
export type OpenLists = ReadonlyMap<number, number>;

/** Caches parsed containers, so that a key press does not parse a text of 10 MB again. */
export class TreeReader {
  private read = new Map<number, { limit: number; entries: JsonEntry[]; hasMore: boolean }>();

  constructor(
    readonly text: string,
    readonly root: JsonValue,
  ) {}

  entries(value: JsonValue, limit: number) {
    const known = this.read.get(value.from);
    if (known && known.limit >= limit) return known;
    const found = { limit, ...jsonEntries(this.text, value, limit) };
    this.read.set(value.from, found);
    return found;
  }

  rows(open: OpenLists): TreeRow[] {
    const rows: TreeRow[] = [];
    const add = (value: JsonValue, key: TreeRow["key"], parent: TreeRow | undefined, depth: number) => {
      const limit = isContainer(value) ? open.get(value.from) : undefined;
      const row: TreeRow = { key, value, depth, parent, isOpen: limit !== undefined };
      rows.push(row);
      if (limit === undefined) return;
      const { entries, hasMore } = this.entries(value, limit);
      for (const entry of entries.slice(0, limit)) add(entry.value, entry.key, row, depth + 1);
      if (hasMore || entries.length > limit)
        rows.push({ key: undefined, value, depth: depth + 1, parent: row, isOpen: false, isMore: true });
    };
    add(this.root, undefined, undefined, 0);
    return rows;
  }

  /** The initially open containers: two levels, if they are short. */
  firstOpen(): OpenLists {
    const open = new Map<number, number>();
    const visit = (value: JsonValue, depth: number) => {
      if (!isContainer(value) || depth > 2 || open.size > 40) return;
      const { entries, hasMore } = this.entries(value, depth === 0 ? listStep : 60);
      if (depth > 0 && hasMore) return;
      open.set(value.from, listStep);
      for (const entry of entries) visit(entry.value, depth + 1);
    };
    visit(this.root, 0);
    return open;
  }
}

export function isContainer(value: JsonValue): boolean {
  return value.kind === "object" || value.kind === "array";
}

export function stepsOf(row: TreeRow): (string | number)[] {
  const steps: (string | number)[] = [];
  for (let at: TreeRow | undefined = row; at?.key !== undefined; at = at.parent) steps.unshift(at.key);
  return steps;
}

/** The condition that data has a value at a path; for an object or array, that the path exists. */
export function jsonCondition(
  text: string,
  steps: readonly (string | number)[],
  value: JsonValue,
  isNot: boolean,
): string {
  const path = dataPath(steps);
  if (isContainer(value)) return `${isNot ? "not " : ""}exists ${path}`;
  if (value.kind === "string") return condition(path, jsonString(text, value, 8000), isNot);
  return condition(path, { number: text.slice(value.from, value.to) }, isNot);
}
