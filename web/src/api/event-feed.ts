import { api, call, type ListedEvent } from "./client";

/** A row of a feed: an event, a seq that has no stored event, or undefined while it loads. */
export type FeedRow = ListedEvent | { missing: number } | undefined;

/** The state of a feed. Every change makes a new object. */
export interface FeedState {
  /** The number of rows to scroll through, as far as it is known. */
  total: number;
  /** The number of events; undefined while the backend counts them. */
  count: number | undefined;
  /** How far the feed has renumbered its rows since it began: row i is now row i + shift. */
  shift: number;
  /** Whether nothing is loaded yet. */
  isPending: boolean;
  /** The error of the last request. The feed retries automatically. */
  error?: unknown;
}

/** Where a feed begins: at its first row, at its last row, or at a seq. */
export type FeedStart = "first" | "last" | number;

/**
 * The events of a session, or those that a filter selects, as rows. A feed loads rows
 * when they come into sight and keeps a bounded number of them.
 */
export interface EventFeed {
  subscribe: (listener: () => void) => () => void;
  getState: () => FeedState;
  row: (index: number) => FeedRow;
  /** The row of a seq; undefined if the feed does not know it without a request. */
  indexOf: (seq: number) => number | undefined;
  /** Sets the visible rows, to exclusive. The feed loads them and may cancel requests for others. */
  show: (from: number, to: number) => void;
  /** Loads the row of a seq. indexOf returns it once it is loaded. */
  find: (seq: number) => void;
  /** Adds events of the stream. upTo is the seq that the stream has reached. */
  receive: (events: readonly ListedEvent[], upTo: number) => void;
  /**
   * Asks for these fields of the data with each event: paths, separated by commas. Loaded rows
   * stay until the same rows with the new fields replace them.
   */
  setFields: (fields: string) => void;
  retry: () => void;
  /** Cancels all requests. The next show starts them again. */
  close: () => void;
}

export interface PageQuery {
  after?: number;
  before?: number;
  order?: "asc" | "desc";
  limit: number;
  filter?: string;
  fields?: string;
  count?: boolean;
}

interface EventPage {
  events: ListedEvent[];
  has_more: boolean;
  count?: number;
}

export type LoadPage = (query: PageQuery, signal: AbortSignal) => Promise<EventPage>;

/** Makes the function that loads pages of a session's events. */
export function pageLoader(sessionId: string): LoadPage {
  return (query, signal) =>
    call(api.GET("/api/sessions/{sessionId}/events", { params: { path: { sessionId }, query }, signal }));
}
