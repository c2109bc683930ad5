import { useSyncExternalStore } from "react";
import { readStored, writeStored } from "@/hooks/settings";

/** A named filter, stored in this browser. */
export interface SavedFilter {
  name: string;
  filter: string;
}

interface Filters {
  /** The used filters, latest first. */
  recent: readonly string[];
  saved: readonly SavedFilter[];
}

const key = "ospulse.filters";
const most = { recent: 20, saved: 200 };
const listeners = new Set<() => void>();
let current = load();

function load(): Filters {
  const stored = readStored<{ recent?: unknown; saved?: unknown }>(key);
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
  return {
    recent: list(stored?.recent)
      .filter((entry): entry is string => typeof entry === "string" && entry !== "")
      .slice(0, most.recent),
    saved: list(stored?.saved).filter(isSaved).slice(0, most.saved),
  };
}

function isSaved(entry: unknown): entry is SavedFilter {
  return (
    typeof entry === "object" &&
    entry !== null &&
    "name" in entry &&
    typeof entry.name === "string" &&
    "filter" in entry &&
    typeof entry.filter === "string"
  );
}

function change(part: Partial<Filters>): void {
  current = { ...current, ...part };
  writeStored(key, current);
  for (const listener of listeners) listener();
}

/** Records that a filter was used. */
export function rememberFilter(filter: string): void {
  if (filter.trim() === "" || current.recent[0] === filter) return;
  change({
    recent: [filter, ...current.recent.filter((entry) => entry !== filter)].slice(0, most.recent),
  });
}

/** Saves a filter under a name. It replaces the filter that has the name. */
export function saveFilter(name: string, filter: string): void {
  const others = current.saved.filter((entry) => entry.name !== name);
  change({ saved: [{ name, filter }, ...others].slice(0, most.saved) });
}

/** Renames a saved filter; false if the new name is taken or blank. */
export function renameFilter(from: string, to: string): boolean {
  if (to === "" || current.saved.some((entry) => entry.name === to)) return from === to;
  change({ saved: current.saved.map((entry) => (entry.name === from ? { ...entry, name: to } : entry)) });
  return true;
}

export function deleteFilter(name: string): void {
  change({ saved: current.saved.filter((entry) => entry.name !== name) });
}

export function forgetRecent(): void {
  change({ recent: [] });
}

/** Reads the stored filters again, because another tab may have changed them. */
export function reloadFilters(): void {
  current = load();
  for (const listener of listeners) listener();
}
globalThis.addEventListener?.("storage", (event) => {
  if (event.key === key) reloadFilters();
});

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useFilters(): Filters {
  return useSyncExternalStore(subscribe, () => current);
}

export const recentFilters = (): readonly string[] => current.recent;
