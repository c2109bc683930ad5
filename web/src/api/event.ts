import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { type JsonValue, jsonEntries, jsonRoot } from "@/lib/json";
import { api, call, type FullEvent } from "./client";
import { keys } from "./queries";

/** An event: its exact JSON text, its fields, and the position of its data in the text. */
export interface EventText {
  text: string;
  fields: Omit<FullEvent, "data">;
  data: JsonValue | undefined;
}

/** Loads one whole event. The previous event stays until the next one is loaded. */
export function useEvent(sessionId: string, seq: number) {
  const query = useQuery({
    queryKey: keys.of(sessionId, "event", seq),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/events/{seq}", {
          params: { path: { sessionId, seq } },
          parseAs: "text",
          signal,
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 30_000, // an event can be 10 MB
    placeholderData: keepPreviousData,
  });
  const text = query.data;
  const event = useMemo(() => (text === undefined ? undefined : readEvent(text)), [text]);
  return { ...query, event };
}

/** Parses an event except its data, which may be long and have numbers that JSON.parse would round. */
export function readEvent(text: string): EventText {
  const fields: Record<string, unknown> = {};
  let data: JsonValue | undefined;
  for (const { key, value } of jsonEntries(text, jsonRoot(text)).entries) {
    if (key === "data") data = value;
    else fields[key] = JSON.parse(text.slice(value.from, value.to));
  }
  return { text, fields: fields as Omit<FullEvent, "data">, data };
}

/** Counts the events that a filter selects, once it is known. */
export function useEventCount(sessionId: string, filter: string | undefined) {
  return useQuery({
    queryKey: keys.of(sessionId, "count", filter),
    queryFn: async ({ signal }) => {
      const query = { filter, limit: 1, count: true };
      const page = await call(
        api.GET("/api/sessions/{sessionId}/events", { params: { path: { sessionId }, query }, signal }),
      );
      return page.count ?? 0;
    },
    enabled: filter !== undefined,
  });
}

/** Returns the event next to a seq among those that the filter selects; undefined at the ends. */
export async function neighbour(sessionId: string, seq: number, by: -1 | 1, filter: string) {
  const side = by > 0 ? { after: seq } : { before: seq, order: "desc" as const };
  const query = { ...side, limit: 1, filter: filter || undefined };
  const page = await call(
    api.GET("/api/sessions/{sessionId}/events", { params: { path: { sessionId }, query } }),
  );
  return page.events[0];
}
