import { useEffect, useMemo, useSyncExternalStore } from "react";
import { useSessionStream } from "@/hooks/session-stream";
import { api, call, type ListedEvent } from "./client";
import { KeysetFeed } from "./keyset-feed";
import { PageFeed } from "./page-feed";

/** A row of a feed: an event, one that is not stored though its number was given, or one on its way. */
export type FeedRow = ListedEvent | { missing: number } | undefined;

/** What a feed tells whoever draws it; a new object at every change. */
export interface FeedState {
  /** How many rows there are to scroll through, as far as is known. */
  total: number;
  /** How many events there are; undefined while they are counted. */
  count: number | undefined;
  /** How far all rows were renumbered since the feed began: what was row i is now row i + shift. */
  shift: number;
  /** Whether nothing was loaded yet. */
  isPending: boolean;
  /** Why the last request failed; it is tried again by itself. */
  error?: unknown;
}

/** Where a feed begins: at its first row, at its last one, or at a seq. */
export type FeedStart = "first" | "last" | number;

/**
 * The events of a session, or of those a filter selects, as rows that are loaded as
 * they come into sight. It holds a bounded number of them, whatever the session has.
 */
export interface EventFeed {
  subscribe: (listener: () => void) => () => void;
  getState: () => FeedState;
  row: (index: number) => FeedRow;
  /** The row of a seq; undefined where it is not known without asking. */
  indexOf: (seq: number) => number | undefined;
  /** Tells which rows are in sight, the last one exclusive: they are wanted, others no more. */
  show: (from: number, to: number) => void;
  /** Brings a seq among the rows; indexOf knows it once it is there. */
  find: (seq: number) => void;
  /** Takes events of the stream. */
  receive: (events: readonly ListedEvent[], upTo: number) => void;
  retry: () => void;
  /** Ends all requests. A later show takes them up again. */
  close: () => void;
}

export interface PageQuery {
  after?: number;
  before?: number;
  order?: "asc" | "desc";
  limit: number;
  filter?: string;
  count?: boolean;
}

export interface EventPage {
  events: ListedEvent[];
  has_more: boolean;
  count?: number;
}

export type LoadPage = (query: PageQuery, signal: AbortSignal) => Promise<EventPage>;

/** Loads a page of a session's events. */
export function pageLoader(sessionId: string): LoadPage {
  return (query, signal) =>
    call(api.GET("/api/sessions/{sessionId}/events", { params: { path: { sessionId }, query }, signal }));
}

// What is asked for before anything is drawn.
const firstRows = 50;

/** The feed of a session and a filter, with what the session's stream brings. */
export function useEventFeed(sessionId: string, filter: string, start: FeedStart) {
  const { subscribe, position } = useSessionStream();
  // biome-ignore lint/correctness/useExhaustiveDependencies: where it begins does not make it another feed
  const feed = useMemo<EventFeed>(
    () =>
      filter === ""
        ? new PageFeed(pageLoader(sessionId), position())
        : new KeysetFeed(pageLoader(sessionId), filter, position(), start),
    [sessionId, filter],
  );
  useEffect(() => {
    // What came between the first drawing and now is told by the position alone.
    feed.receive([], position());
    return subscribe(feed.receive);
  }, [feed, subscribe, position]);
  useEffect(() => {
    feed.show(0, firstRows);
    return () => feed.close();
  }, [feed]);
  const state = useSyncExternalStore(feed.subscribe, feed.getState);
  return { feed, state };
}
