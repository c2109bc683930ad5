import type { Histogram } from "@/api/client";
import { type Kind, kindOf } from "@/lib/kind";
import { toMicros } from "@/lib/time";

/** The kinds from the bottom of a bar to its top. */
export const stackOrder: readonly Kind[] = [
  "file",
  "process",
  "http",
  "network",
  "packet",
  "monitor",
  "other",
  "loss",
];

/** A span of time in microseconds since 1970, both ends included. */
export interface Range {
  from: number;
  to: number;
}

/** A histogram by kinds of events. */
export interface Bars {
  range: Range;
  /** The length of a bucket, in microseconds. */
  width: number;
  starts: readonly number[];
  /** The counts of each bucket, in the order of stackOrder. */
  counts: readonly (readonly number[])[];
  totals: readonly number[];
  /** The largest of the totals. */
  most: number;
}

/** Reads a histogram; undefined if it has no buckets. */
export function readBars(histogram: Histogram): Bars | undefined {
  const range = { from: toMicros(histogram.from), to: toMicros(histogram.to) };
  if (histogram.buckets.length === 0 || Number.isNaN(range.from) || Number.isNaN(range.to)) return undefined;
  const places = new Map(
    histogram.types.map((type) => [type, stackOrder.indexOf(kindOf(type).kind)] as const),
  );
  const other = stackOrder.indexOf("other");
  const counts = histogram.buckets.map((bucket) => {
    const row = stackOrder.map(() => 0);
    for (const [type, count] of Object.entries(bucket.counts)) {
      const place = places.get(type) ?? other;
      row[place] = (row[place] ?? 0) + count;
    }
    return row;
  });
  const totals = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
  return {
    range,
    width: histogram.width_micros,
    starts: histogram.buckets.map((bucket) => toMicros(bucket.start)),
    counts,
    totals,
    most: totals.reduce((most, total) => Math.max(most, total), 0),
  };
}

/** The index of the bucket that contains a time; -1 if none does. */
export function bucketAt(bars: Bars, micros: number): number {
  if (micros < bars.range.from || micros > bars.range.to) return -1;
  return Math.min(Math.floor((micros - bars.range.from) / bars.width), bars.starts.length - 1);
}

/** The counts of types as counts of kinds, in the order of stackOrder. */
export function sumByKind(types: Readonly<Record<string, number>>): number[] {
  const sum = stackOrder.map(() => 0);
  for (const [type, count] of Object.entries(types)) {
    const place = stackOrder.indexOf(kindOf(type).kind);
    sum[place] = (sum[place] ?? 0) + count;
  }
  return sum;
}

/** The idle times that are at least the given share of the range. */
export function idleGaps(bars: Bars, range: Range, share: number): Range[] {
  const gaps: Range[] = [];
  const least = (range.to - range.from) * share;
  let last = range.from;
  const close = (to: number) => {
    if (to - last >= least) gaps.push({ from: last, to });
  };
  for (const [index, start] of bars.starts.entries()) {
    const end = start + bars.width;
    if (bars.totals[index] === 0 || end <= range.from || start >= range.to) continue;
    close(start);
    last = Math.max(last, end);
  }
  close(Math.min(range.to, bars.range.to));
  return gaps;
}

/**
 * The height of a bar. It is proportional to the square root of the count, so that one
 * event is visible beside ten thousand, and at least two pixels.
 */
export function barHeight(count: number, most: number, height: number): number {
  return count === 0 ? 0 : Math.max(2, Math.sqrt(count / most) * height);
}

/** Divides the height of a bar among its kinds. Each kind with events gets at least a pixel. */
export function stackHeights(row: readonly number[], height: number): number[] {
  const total = row.reduce((sum, count) => sum + count, 0);
  if (total === 0) return row.map(() => 0);
  const raised = row.map((count) => (count === 0 ? 0 : Math.max(1, (count / total) * height)));
  const over = raised.reduce((sum, part) => sum + part, 0) - height;
  if (over <= 0) return raised;
  // The largest part pays for the raised small ones.
  const largest = raised.indexOf(Math.max(...raised));
  return raised.map((part, place) => (place === largest ? Math.max(1, part - over) : part));
}

const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const microsteps = [
  ...steps,
  ...steps.map((n) => n * 1e3),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * 1e6),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * 60e6),
  ...[1, 2, 3, 6, 12].map((n) => n * 3600e6),
  ...[1, 2, 5, 10, 20, 50, 100, 365].map((n) => n * 86_400e6),
];

/** Round times within the range, at most `most` of them; step is their distance. */
export function ticks(range: Range, most: number, offsetMicros: number): { step: number; at: number[] } {
  const length = range.to - range.from;
  const step = microsteps.find((candidate) => length / candidate <= most) ?? length;
  const at: number[] = [];
  if (!(step > 0)) return { step, at };
  // Round in the shown zone, not in UTC.
  for (let t = Math.ceil((range.from + offsetMicros) / step) * step - offsetMicros; t <= range.to; t += step)
    at.push(t);
  return { step, at };
}
