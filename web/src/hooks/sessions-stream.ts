import { type InfiniteData, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { basePath } from "@/api/base";
import type { Session } from "@/api/client";
import { openStream } from "@/api/stream";

interface Page {
  sessions: Session[];
  next_cursor: string | null;
}

/** Keeps all cached lists of sessions up to date, while a page uses this. */
export function useSessionsStream(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const lists = { queryKey: ["sessions"] };
    const refetch = () => queries.invalidateQueries(lists);
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
          if (!isKnown && lastChange.get(session.id) !== session.updated_at) void refetch();
          lastChange.set(session.id, session.updated_at);
        },
        deleted: (data) => {
          const { id } = data as { id: string };
          queries.setQueriesData<InfiniteData<Page>>(lists, (list) => withoutSession(list, id));
        },
      },
      onState: () => {},
      poll: refetch,
    });
  }, [queries]);
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
