import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { keys } from "@/api/queries";
import { refetchBehind, useLive } from "./live";

interface Page {
  next_cursor: string | null;
}

const liveMillis = 4000;

/**
 * Pages of a summary of a session's events, such as its files. While the page knows of
 * newer events, it refetches the pages on screen every few seconds.
 */
export function useRollup<P extends Page>(
  sessionId: string,
  what: string,
  search: Record<string, unknown>,
  fetchPage: (cursor: string | undefined, signal: AbortSignal) => Promise<P>,
) {
  const live = useLive();
  return useInfiniteQuery({
    queryKey: keys.of(sessionId, what, search),
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam, signal }) => {
      const { upTo } = live;
      return { ...(await fetchPage(pageParam, signal)), upTo };
    },
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) => refetchBehind(data?.pages[0]?.upTo, live, liveMillis),
  });
}
