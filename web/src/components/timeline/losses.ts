import type { SessionDetail } from "@/api/client";
import { toMicros } from "@/lib/time";
import type { Range } from "./bars";

/** A report of lost events, and the range of time in which they were lost. */
export interface LossMark extends Range {
  seq: number;
  count: number;
  reason: string;
}

/** The losses of a session. A loss without a range gets the time of its report. */
export function lossMarks({ completeness }: SessionDetail): LossMark[] {
  return completeness.losses.map(({ seq, count, reason, from, to, timestamp }) => ({
    seq,
    count,
    reason,
    from: toMicros(from ?? to ?? timestamp),
    to: toMicros(to ?? from ?? timestamp),
  }));
}
