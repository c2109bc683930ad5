import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, call } from "@/api/client";
import { isLive, keys, useSession } from "@/api/queries";
import { fromMicros } from "@/lib/time";
import { type Bars, type Range, readBars } from "./bars";

const liveMillis = 2000;

interface Asked {
  sessionId: string;
  filter: string;
  buckets: number;
  /** Undefined for the whole session. */
  range?: Range;
  enabled?: boolean;
}

interface Counted {
  bars: Bars | undefined;
  isPending: boolean;
  error: Error | null;
}

/**
 * Counts over time. It refetches while there are uncounted events, at most every two
 * seconds, and less often if an answer takes long.
 */
export function useHistogram({ sessionId, filter, buckets, range, enabled = true }: Asked): Counted {
  const { data: session } = useSession(sessionId);
  const from = range && fromMicros(range.from);
  const to = range && fromMicros(range.to);
  const query = useQuery({
    queryKey: keys.of(sessionId, "histogram", filter, buckets, from, to),
    queryFn: async ({ signal }) => {
      const started = performance.now();
      const histogram = await call(
        api.GET("/api/sessions/{sessionId}/histogram", {
          params: { path: { sessionId }, query: { buckets, from, to, filter: filter || undefined } },
          signal,
        }),
      );
      return { histogram, millis: performance.now() - started, eventCount: session?.event_count };
    },
    enabled,
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) => {
      const isBehind = data !== undefined && data.eventCount !== session?.event_count;
      return isLive(session) || isBehind ? Math.max(liveMillis, 10 * (data?.millis ?? 0)) : false;
    },
  });
  const histogram = query.data?.histogram;
  const bars = useMemo(() => histogram && readBars(histogram), [histogram]);
  return { bars, isPending: enabled && query.isPending, error: query.error };
}
