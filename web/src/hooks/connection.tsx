import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { api, call, type Health } from "@/api/client";
import { contact } from "@/api/contact";

/** The health of the backend; lostSince is set while the backend cannot be reached. */
export interface Connection {
  health?: Health;
  lostSince?: number;
}

// A broken connection shows within this interval. A backend that does not answer shows
// after the timeout, which is long enough for a busy machine.
const intervalMillis = 2500;
const timeoutMillis = 10_000;

const Context = createContext<Connection>({});

export const useConnection = () => useContext(Context);

/**
 * Polls the backend's health for the whole page. The backend is lost if a poll fails and
 * nothing else arrives meanwhile. When anything arrives again, all queries are refetched.
 */
export function ConnectionProvider({ children }: { children: ReactNode }) {
  const [connection, setConnection] = useState<Connection>({});
  const queries = useQueryClient();
  useEffect(() => {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let isAsking = false;
    let isLost = false;
    let heardAt = 0;
    const ask = async () => {
      if (isAsking) return;
      isAsking = true;
      clearTimeout(timer);
      const began = performance.now();
      try {
        const signal = AbortSignal.any([ending.signal, AbortSignal.timeout(timeoutMillis)]);
        const health = await call(api.GET("/api/health", { signal }));
        isLost = false;
        setConnection({ health });
      } catch {
        if (ending.signal.aborted) return;
        if (heardAt < began) {
          isLost = true;
          setConnection((now) => ({ ...now, lostSince: now.lostSince ?? Date.now() }));
        }
      }
      isAsking = false;
      timer = setTimeout(ask, intervalMillis);
    };
    const hear = () => {
      heardAt = performance.now();
      if (!isLost) return;
      isLost = false;
      setConnection(({ health }) => ({ health }));
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
  return <Context value={connection}>{children}</Context>;
}
