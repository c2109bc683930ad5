import { useCallback, useEffect, useState } from "react";

/**
 * A value that this browser keeps under a name, and a function that changes it. Changes in
 * other tabs apply at once. parse returns a valid value for anything that may be stored, and
 * is the same function at every call.
 */
export function useStored<T>(
  name: string,
  parse: (stored: unknown) => T,
): [T, (next: (now: T) => T) => void] {
  const [value, setValue] = useState(() => parse(readStored(name)));
  useEffect(() => {
    const reload = (event: StorageEvent) => {
      if (event.key === name || event.key === null) setValue(parse(readStored(name)));
    };
    addEventListener("storage", reload);
    return () => removeEventListener("storage", reload);
  }, [name, parse]);
  const change = useCallback(
    (next: (now: T) => T) =>
      setValue((now) => {
        const then = next(now);
        writeStored(name, then);
        return then;
      }),
    [name],
  );
  return [value, change];
}

/** Reads the value stored in this browser under a name; undefined if there is none or it cannot be read. */
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
