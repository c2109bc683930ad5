import { useSyncExternalStore } from "react";
import type { Zone } from "@/lib/time";

/** The reader's choices, stored in this browser. */
export interface Settings {
  theme: "system" | "light" | "dark";
  zone: Zone;
  /** ID of the agent for uploads; "" for the backend's own. */
  agent: string;
}

const key = "ospulse.settings";
const defaults: Settings = { theme: "system", zone: "local", agent: "" };
const listeners = new Set<() => void>();
let current = load();

function load(): Settings {
  const stored = readStored<Partial<Settings>>(key) ?? {};
  return {
    theme: stored.theme === "light" || stored.theme === "dark" ? stored.theme : defaults.theme,
    zone: stored.zone === "utc" ? "utc" : defaults.zone,
    agent: typeof stored.agent === "string" ? stored.agent : defaults.agent,
  };
}

/** Reads the value stored under a name; undefined if there is none or it cannot be read. */
export function readStored<T>(name: string): T | undefined {
  try {
    const text = localStorage.getItem(name);
    return text === null ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined; // the browser refuses storage, or the value is not ours
  }
}

/** Stores a value under a name, if the browser permits it; undefined removes what is stored. */
export function writeStored(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows refuse. The choice then lasts as long as the page.
  }
}

function apply(): void {
  if (current.theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = current.theme;
}
apply();

export function changeSettings(change: Partial<Settings>): void {
  current = { ...current, ...change };
  writeStored(key, current);
  apply();
  for (const listener of listeners) listener();
}

globalThis.addEventListener?.("storage", (event) => {
  if (event.key !== key) return;
  current = load();
  apply();
  for (const listener of listeners) listener();
});

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSettings(): Settings {
  return useSyncExternalStore(subscribe, () => current);
}
