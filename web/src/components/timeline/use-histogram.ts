import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, call, type Histogram } from "@/api/client";
import type { Counted as Counts } from "@/api/event-counts";
import { keys } from "@/api/queries";
import { refetchBehind, useLive } from "@/hooks/live";
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
  /** The sums of the answer to just this question; undefined until it arrives. */
  counts: Counts | undefined;
  isPending: boolean;
  error: Error | null;
}

/**
 * Counts over time. It refetches while there are uncounted events, at most every two
 * seconds, and less often if an answer takes long.
 */
export function useHistogram({ sessionId, filter, buckets, range, enabled = true }: Asked): Counted {
  const live = useLive();
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
      return { histogram, millis: performance.now() - started };
    },
    enabled,
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) =>
      refetchBehind(data?.histogram.up_to, live, Math.max(liveMillis, 10 * (data?.millis ?? 0))),
  });
  const histogram = query.data?.histogram;
  const bars = useMemo(() => histogram && readBars(histogram), [histogram]);
  const isAnswer = !query.isPlaceholderData;
  const counts = useMemo(
    () => (histogram && isAnswer ? sumByType(histogram) : undefined),
    [histogram, isAnswer],
  );
  return { bars, counts, isPending: enabled && query.isPending, error: query.error };
}

function sumByType({ up_to, buckets }: Histogram): Counts {
  const types: Record<string, number> = {};
  for (const { counts } of buckets)
    for (const [type, count] of Object.entries(counts)) types[type] = (types[type] ?? 0) + count;
  return { upTo: up_to, types };
}
