import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { api, call, type Health } from "./client";

/** The health of the backend; lostSince is set while the backend cannot be reached. */
export interface Connection {
  health?: Health;
  lostSince?: number;
}

// With this interval and timeout, a lost connection shows within 5 s.
const intervalMillis = 2500;
const timeoutMillis = 2000;

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

/** Polls the backend's health for the whole page. When the backend returns, it refetches all queries. */
export function useConnectionWatch(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        const signal = AbortSignal.any([ending.signal, AbortSignal.timeout(timeoutMillis)]);
        const health = await call(api.GET("/api/health", { signal }));
        const wasLost = connection.lostSince !== undefined;
        set({ health });
        if (wasLost) void queries.invalidateQueries();
      } catch {
        if (ending.signal.aborted) return;
        set({ health: connection.health, lostSince: connection.lostSince ?? Date.now() });
      }
      timer = setTimeout(ask, intervalMillis);
    };
    void ask();
    return () => {
      ending.abort();
      clearTimeout(timer);
    };
  }, [queries]);
}
