import { type InfiniteData, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { basePath } from "@/api/base";
import type { Session } from "@/api/client";
import { openStream } from "@/api/stream";

interface Page {
  sessions: Session[];
  next_cursor: string | null;
}

/** All cached lists of sessions. */
const lists = { queryKey: ["sessions"] };

/** Keeps all cached lists of sessions up to date, while a page uses this. */
export function useSessionsStream(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const refetch = newRefetch(queries);
    const lastChange = new Map<string, string>();
    return openStream({
      url: () => `${basePath}/api/stream`,
      on: {
        ready: () => void refetch(),
        session: (data) => {
          const session = data as Session;
          let isKnown = true;
          queries.setQueriesData<InfiniteData<Page>>(lists, (list) => {
            const changed = replaceSession(list, session);
            if (changed === undefined) isKnown = false;
            return changed ?? list;
          });
          // Only the backend knows which lists a new or changed session belongs to.
          const isNew = !isKnown && lastChange.get(session.id) !== session.updated_at;
          if (isNew || queries.isFetching(lists) > 0) void refetch();
          lastChange.set(session.id, session.updated_at);
        },
        deleted: (data) => {
          const { id } = data as { id: string };
          queries.setQueriesData<InfiniteData<Page>>(lists, (list) => withoutSession(list, id));
          if (queries.isFetching(lists) > 0) void refetch();
        },
      },
      onState: () => {},
      poll: refetch,
    });
  }, [queries]);
}

/**
 * Returns a function that refetches the lists on screen. The answer of a running request
 * may be older than the change, so the function waits for it and then fetches once more.
 */
export function newRefetch(queries: QueryClient): () => Promise<void> {
  let running: Promise<void> | undefined;
  let isWanted = false;
  const run = async () => {
    while (isWanted) {
      isWanted = queries.isFetching(lists) > 0;
      await queries.invalidateQueries(lists, { cancelRefetch: false });
    }
    running = undefined;
  };
  return () => {
    isWanted = true;
    running ??= run();
    return running;
  };
}

/** The list with the new state of the session; undefined if the session is not in it. */
export function replaceSession(
  list: InfiniteData<Page> | undefined,
  session: Session,
): InfiniteData<Page> | undefined {
  if (!list?.pages.some((page) => page.sessions.some((other) => other.id === session.id))) return undefined;
  return {
    ...list,
    pages: list.pages.map((page) => ({
      ...page,
      sessions: page.sessions.map((other) => (other.id === session.id ? session : other)),
    })),
  };
}

export function withoutSession(
  list: InfiniteData<Page> | undefined,
  id: string,
): InfiniteData<Page> | undefined {
  return (
    list && {
      ...list,
      pages: list.pages.map((page) => ({
        ...page,
        sessions: page.sessions.filter((session) => session.id !== id),
      })),
    }
  );
}
