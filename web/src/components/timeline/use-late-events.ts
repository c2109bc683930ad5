import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import type { SessionDetail } from "@/api/client";
import { keys } from "@/api/queries";
import { useSessionStream } from "@/hooks/session-stream";

const waitMillis = 1500;

/** Refetches the session when the stream is ahead of its counts, because events may arrive at any time. */
export function useLateEvents(sessionId: string): void {
  const queries = useQueryClient();
  const { subscribe } = useSessionStream();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const unsubscribe = subscribe((_, upTo) => {
      const queryKey = keys.session(sessionId);
      const counted = queries.getQueryData<SessionDetail>(queryKey)?.event_count ?? 0;
      if (upTo <= counted || timer !== undefined) return;
      timer = setTimeout(() => {
        timer = undefined;
        void queries.invalidateQueries({ queryKey, exact: true });
      }, waitMillis);
    });
    return () => {
      unsubscribe();
      clearTimeout(timer);
    };
  }, [queries, subscribe, sessionId]);
}
