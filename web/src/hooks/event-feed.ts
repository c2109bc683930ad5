import { useEffect, useMemo, useSyncExternalStore } from "react";
import { type EventFeed, type FeedStart, pageLoader } from "@/api/event-feed";
import { KeysetFeed } from "@/api/keyset-feed";
import { PageFeed } from "@/api/page-feed";
import { useSessionStream } from "./session-stream";

// The number of rows to request before the table knows how many are visible.
const firstRows = 50;

/**
 * The feed of a session's events, or of those that a filter selects. The feed receives
 * the new events of the session's stream. Another start does not make another feed, and
 * neither do other fields.
 */
export function useEventFeed(sessionId: string, filter: string, start: FeedStart) {
  const { subscribe, position, session, fields } = useSessionStream();
  // biome-ignore lint/correctness/useExhaustiveDependencies: only the first start counts, and the effect below takes other fields
  const feed = useMemo<EventFeed>(
    () =>
      filter === ""
        ? new PageFeed(pageLoader(sessionId), position(), session?.expired_seq, fields)
        : new KeysetFeed(pageLoader(sessionId), filter, position(), start, fields),
    [sessionId, filter],
  );
  useEffect(() => feed.setFields(fields), [feed, fields]);
  useEffect(() => {
    // Events that arrived since the first rendering are not replayed; the position covers them.
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
