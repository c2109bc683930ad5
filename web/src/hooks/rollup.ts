import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { isLive, keys, useSession } from "@/api/queries";

interface Page {
  next_cursor: string | null;
}

/**
 * Pages of a summary of a session's events, such as its files. While the session is
 * live, it refetches the pages on screen every few seconds.
 */
export function useRollup<P extends Page>(
  sessionId: string,
  what: string,
  search: Record<string, unknown>,
  fetchPage: (cursor: string | undefined, signal: AbortSignal) => Promise<P>,
) {
  const { data: session } = useSession(sessionId);
  return useInfiniteQuery({
    queryKey: keys.of(sessionId, what, search),
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) => fetchPage(pageParam, signal),
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
    refetchInterval: isLive(session) ? 4000 : false,
  });
}
