import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import type { components } from "@/api/schema";
import { failedText } from "@/lib/finding";
import { plainText } from "@/lib/text";
import { toMicros } from "@/lib/time";
import { useSessionStream } from "./session-stream";

type Finding = components["schemas"]["Finding"];

/**
 * What the detection rules found in the session on screen. While the rules are behind the
 * events, it asks again every few milliseconds, and at once when the stream tells of a new
 * finding.
 */
export function useFindings(millis = 1000) {
  const { sessionId, session } = useSessionStream();
  const newest = session?.event_count ?? 0;
  return useQuery({
    queryKey: keys.of(sessionId, "findings"),
    queryFn: ({ signal }) =>
      call(api.GET("/api/sessions/{sessionId}/findings", { params: { path: { sessionId } }, signal })),
    refetchInterval: ({ state: { data } }) =>
      data && data.up_to_seq < Math.max(data.event_count, newest) ? millis : false,
  });
}

/** The findings that point to an event, as one mark. */
export interface FindingMark {
  /** The highest level. */
  level: Finding["level"];
  /** "high: Attempt failed: A program read the password hashes", without hidden characters. */
  text: string;
}

/** A mark and the time and the process of its event. */
export interface PlacedMark extends FindingMark {
  seq: number;
  /** In microseconds. */
  at: number;
  pid: number | null;
}

const none: ReadonlyMap<number, FindingMark> = new Map();

/** The marks of events, by seq. */
export function useFindingMarks(): ReadonlyMap<number, FindingMark> {
  const findings = useFindings(3000).data?.findings;
  return useMemo(() => (findings ? marksOf(findings) : none), [findings]);
}

/** The marks of the events to which findings point, which are in the order of their level. */
export function marksOf(
  findings: readonly Pick<Finding, "level" | "title" | "events" | "failed_count" | "seqs">[],
): ReadonlyMap<number, FindingMark> {
  const marks = new Map<number, FindingMark>();
  for (const finding of findings) {
    const { level, title, seqs } = finding;
    const failed = failedText(finding);
    const text = `${level}: ${failed && `${failed}: `}${plainText(title, 120)}`;
    const mark = { level, text };
    for (const seq of seqs) {
      const first = marks.get(seq);
      marks.set(seq, first ? { level: first.level, text: `${first.text}; ${text}` } : mark);
    }
  }
  return marks;
}

/** The marks of the first 1,000 events of findings, with their times and processes. */
export function usePlacedMarks(sessionId: string): readonly PlacedMark[] {
  const marks = useFindingMarks();
  const { data } = useQuery({
    queryKey: keys.of(sessionId, "finding-events", marks.size),
    enabled: marks.size > 0,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/events", {
          params: { path: { sessionId }, query: { filter: "finding = true", limit: 1000 } },
          signal,
        }),
      ),
  });
  return useMemo(
    () =>
      data?.events.flatMap(({ seq, timestamp, pid }) => {
        const mark = marks.get(seq);
        return mark ? [{ ...mark, seq, at: toMicros(timestamp), pid }] : [];
      }) ?? [],
    [data, marks],
  );
}
