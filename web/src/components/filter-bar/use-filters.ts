import { useStored } from "@/hooks/stored";

/** A named filter. */
export interface SavedFilter {
  name: string;
  filter: string;
}

interface Lists {
  /** The used filters, latest first. */
  recent: readonly string[];
  saved: readonly SavedFilter[];
}

export interface Filters extends Lists {
  /** Records that a filter was used. */
  remember: (filter: string) => void;
  /** Saves a filter under a name. It replaces the filter that has the name. */
  save: (name: string, filter: string) => void;
  /** Renames a saved filter; returns false if the new name is taken or empty. */
  rename: (from: string, to: string) => boolean;
  remove: (name: string) => void;
  forgetRecent: () => void;
}

const most = { recent: 20, saved: 200 };

function parse(stored: unknown): Lists {
  const { recent, saved } = Object(stored) as { recent?: unknown; saved?: unknown };
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
  return {
    recent: list(recent)
      .filter((entry): entry is string => typeof entry === "string" && entry !== "")
      .slice(0, most.recent),
    saved: list(saved).filter(isSaved).slice(0, most.saved),
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

/** The recent and the saved filters, which this browser keeps. */
export function useFilters(): Filters {
  const [{ recent, saved }, change] = useStored("ospulse.filters", parse);
  const changeSaved = (next: (saved: readonly SavedFilter[]) => readonly SavedFilter[]) =>
    change((now) => ({ ...now, saved: next(now.saved).slice(0, most.saved) }));
  return {
    recent,
    saved,
    remember: (filter) => {
      if (filter.trim() === "") return;
      change((now) => {
        const others = now.recent.filter((entry) => entry !== filter);
        return { ...now, recent: [filter, ...others].slice(0, most.recent) };
      });
    },
    save: (name, filter) =>
      changeSaved((now) => [{ name, filter }, ...now.filter((entry) => entry.name !== name)]),
    rename: (from, to) => {
      if (to === "" || saved.some((entry) => entry.name === to)) return from === to;
      changeSaved((now) => now.map((entry) => (entry.name === from ? { ...entry, name: to } : entry)));
      return true;
    },
    remove: (name) => changeSaved((now) => now.filter((entry) => entry.name !== name)),
    forgetRecent: () => change((now) => ({ ...now, recent: [] })),
  };
}
