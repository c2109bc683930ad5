import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { api, call, type Health } from "./client";
import { contact } from "./contact";

/** The health of the backend; lostSince is set while the backend cannot be reached. */
export interface Connection {
  health?: Health;
  lostSince?: number;
}

// A broken connection shows within this interval. A backend that does not answer shows
// after the timeout, which is long enough for a busy machine.
const intervalMillis = 2500;
const timeoutMillis = 10_000;

let connection: Connection = {};
const listeners = new Set<() => void>();

function set(next: Connection): void {
  connection = next;
  for (const listener of listeners) listener();
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => connection,
  );
}

/**
 * Polls the backend's health for the whole page. The backend is lost if a poll fails and
 * nothing else arrives meanwhile. When anything arrives again, all queries are refetched.
 */
export function useConnectionWatch(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let isAsking = false;
    let heardAt = 0;
    const ask = async () => {
      if (isAsking) return;
      isAsking = true;
      clearTimeout(timer);
      const began = performance.now();
      try {
        const signal = AbortSignal.any([ending.signal, AbortSignal.timeout(timeoutMillis)]);
        set({ health: await call(api.GET("/api/health", { signal })) });
      } catch {
        if (ending.signal.aborted) return;
        if (heardAt < began) set({ ...connection, lostSince: connection.lostSince ?? Date.now() });
      }
      isAsking = false;
      timer = setTimeout(ask, intervalMillis);
    };
    const hear = () => {
      heardAt = performance.now();
      if (connection.lostSince === undefined) return;
      set({ health: connection.health });
      void queries.invalidateQueries();
    };
    contact.addEventListener("heard", hear);
    contact.addEventListener("doubt", ask);
    void ask();
    return () => {
      ending.abort();
      clearTimeout(timer);
      contact.removeEventListener("heard", hear);
      contact.removeEventListener("doubt", ask);
    };
  }, [queries]);
}
