import { type InfiniteData, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { basePath } from "@/api/base";
import type { Session } from "@/api/client";
import { keys, type SessionSearch } from "@/api/queries";
import type { components } from "@/api/schema";
import { openStream } from "@/api/stream";

interface Page {
  sessions: Session[];
  next_cursor: string | null;
}

/** All cached lists of sessions. */
const lists = { queryKey: ["sessions"] };

/** Keeps all cached lists of sessions, and of the findings of all sessions, up to date, while a page uses this. */
export function useSessionsStream(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const refetch = newRefetch(queries, lists);
    const refetchFindings = newRefetch(queries, { queryKey: keys.findings });
    const lastChange = new Map<string, string>();
    return openStream({
      url: () => `${basePath}/api/stream`,
      on: {
        ready: () => {
          void refetch();
          void refetchFindings();
        },
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
        findings: (data) => {
          const changed = data as components["schemas"]["FindingsMessage"];
          queries.setQueriesData<InfiniteData<Page>>(lists, (list) => replaceSession(list, changed) ?? list);
          // Findings decide which sessions such a list has, and their order.
          const isAffected = queries
            .getQueryCache()
            .findAll({ ...lists, type: "active" })
            .some(({ queryKey: [, search] }) => {
              const { level, sort } = search as SessionSearch;
              return level !== undefined || sort !== undefined;
            });
          if (isAffected || queries.isFetching(lists) > 0) void refetch();
          void refetchFindings();
        },
        deleted: (data) => {
          const { id } = data as { id: string };
          queries.setQueriesData<InfiniteData<Page>>(lists, (list) => withoutSession(list, id));
          if (queries.isFetching(lists) > 0) void refetch();
          void refetchFindings();
        },
      },
      onState: () => {},
      poll: () => Promise.all([refetch(), refetchFindings()]).then(() => {}),
    });
  }, [queries]);
}

/**
 * Returns a function that refetches the lists on screen. The answer of a running request
 * may be older than the change, so the function waits for it and then fetches once more.
 */
export function newRefetch(
  queries: QueryClient,
  lists: { queryKey: readonly unknown[] },
): () => Promise<void> {
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

/** The list with the new members of the session; undefined if the session is not in it. */
export function replaceSession(
  list: InfiniteData<Page> | undefined,
  session: Pick<Session, "id"> & Partial<Session>,
): InfiniteData<Page> | undefined {
  if (!list?.pages.some((page) => page.sessions.some((other) => other.id === session.id))) return undefined;
  return {
    ...list,
    pages: list.pages.map((page) => ({
      ...page,
      sessions: page.sessions.map((other) => (other.id === session.id ? { ...other, ...session } : other)),
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
