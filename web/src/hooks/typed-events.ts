import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, api, call, type ListedEvent } from "@/api/client";
import { refetchBehind, useLive } from "./live";

const pageSize = 500;
const liveMillis = 2000;

interface State {
  key: string;
  events: readonly ListedEvent[];
  after: number;
  /** The newest seq that the page knew when it sent the last request. */
  upTo: number;
  hasMore: boolean;
  error?: unknown;
}

export interface TypedEvents extends Pick<State, "events" | "hasMore" | "error"> {
  /** Whether no answer has arrived. */
  isPending: boolean;
  /** Loads the next page, unless a page is loading. */
  fetchMore: () => void;
}

/**
 * The events that a filter selects, in order, with fields of their data: the requested
 * pages and new events at the end.
 */
export function useTypedEvents(sessionId: string, filter: string, fields: string): TypedEvents {
  const live = useLive();
  const upTo = useRef(0);
  upTo.current = live.upTo;
  const key = `${sessionId}\n${filter}\n${fields}`;
  const [state, setState] = useState<State>({ key, events: [], after: 0, upTo: 0, hasMore: true });
  const current = useRef<State>(state);
  const running = useRef<{ key: string; ending: AbortController }>(undefined);

  const fetchMore = useCallback(() => {
    if (running.current?.key === key) return;
    running.current?.ending.abort();
    const ending = new AbortController();
    running.current = { key, ending };
    const before =
      current.current.key === key ? current.current : { key, events: [], after: 0, upTo: 0, hasMore: true };
    const asked = upTo.current;
    const query = { after: before.after, limit: pageSize, filter, fields };
    call(
      api.GET("/api/sessions/{sessionId}/events", {
        params: { path: { sessionId }, query },
        signal: ending.signal,
      }),
    )
      .then((page): State => {
        const last = page.events.at(-1);
        return {
          key,
          events: last ? [...before.events, ...page.events] : before.events,
          after: last?.seq ?? before.after,
          upTo: asked,
          hasMore: page.has_more,
        };
      })
      .catch((error: unknown): State => ({ ...before, error }))
      .then((next) => {
        if (ending.signal.aborted) return;
        running.current = undefined;
        current.current = next;
        setState(next);
      });
  }, [sessionId, filter, fields, key]);

  useEffect(() => {
    fetchMore();
    return () => {
      running.current?.ending.abort();
      running.current = undefined;
    };
  }, [fetchMore]);

  const isAtEnd = state.key === key && !state.hasMore;
  const isRefused = state.error instanceof ApiError && state.error.status === 400;
  const isBehind = refetchBehind(state.upTo, live, liveMillis) !== false;
  const follows = isBehind && !isRefused && (isAtEnd || state.error !== undefined);
  useEffect(() => {
    if (!follows) return;
    const timer = setInterval(fetchMore, liveMillis);
    return () => clearInterval(timer);
  }, [follows, fetchMore]);

  // The previous rows stay on screen until the answer arrives.
  return {
    events: state.events,
    hasMore: state.key !== key || state.hasMore,
    error: state.error,
    isPending: state.events.length === 0 && state.hasMore && state.error === undefined,
    fetchMore,
  };
}
