import { expect, test } from "vitest";
import type { Histogram } from "@/api/client";
import {
  type Bars,
  barHeight,
  bucketAt,
  idleGaps,
  readBars,
  stackHeights,
  stackOrder,
  sumByKind,
  ticks,
} from "./bars";

const histogram: Histogram = {
  from: "2026-11-22T18:00:00Z",
  to: "2026-11-22T18:00:09.999999Z",
  width_micros: 1_000_000,
  up_to: 17,
  types: ["file_operation", "process_creation", "process_exit", "odd\u202e"],
  buckets: Array.from({ length: 10 }, (_, second): Histogram["buckets"][number] => ({
    start: `2026-11-22T18:00:0${second}Z`,
    counts:
      second === 0
        ? { file_operation: 9, process_creation: 1, process_exit: 2, "odd\u202e": 4 }
        : second === 9
          ? { file_operation: 1 }
          : {},
  })),
};

function read(given = histogram): Bars {
  const bars = readBars(given);
  if (!bars) throw new Error("there are bars");
  return bars;
}

test("types become kinds, and no event is left out", () => {
  const bars = read();
  const of = (kind: (typeof stackOrder)[number]) => bars.counts[0]?.[stackOrder.indexOf(kind)];
  expect([of("file"), of("process"), of("other"), of("http")]).toEqual([9, 3, 4, 0]);
  expect(bars.totals[0]).toBe(16);
  expect(bars.most).toBe(16);
  expect(sumByKind({ file_operation: 3, process_creation: 1, process_exit: 2, odd: 4 })).toEqual([
    3, 3, 0, 0, 0, 0, 4, 0,
  ]);
});

test("a type that is not in the list counts as another kind", () => {
  const bars = read({ ...histogram, types: [] });
  expect(bars.counts[0]?.[stackOrder.indexOf("other")]).toBe(16);
});

test("without events there are no bars", () => {
  expect(readBars({ from: "", to: "", width_micros: 1, up_to: 0, types: [], buckets: [] })).toBeUndefined();
});

test("a time is in the last bucket that does not start after it", () => {
  const bars = read();
  const { from, to } = bars.range;
  expect(
    [from, from + 999_999, from + 1_000_000, to, to + 1, from - 1].map((t) => bucketAt(bars, t)),
  ).toEqual([0, 0, 1, 9, -1, -1]);
});

test("idle time is found between two bursts, unless it is short", () => {
  const bars = read();
  expect(idleGaps(bars, bars.range, 0.12)).toEqual([
    { from: bars.range.from + 1e6, to: bars.range.from + 9e6 },
  ]);
  expect(idleGaps(bars, bars.range, 0.9)).toEqual([]);
});

test("one event is visible beside a million, and zero has no bar", () => {
  expect(barHeight(0, 1e6, 40)).toBe(0);
  expect(barHeight(1, 1e6, 40)).toBe(2);
  expect(barHeight(1e6, 1e6, 40)).toBe(40);
});

test("each kind in a bar is visible, and the bar keeps its height", () => {
  const parts = stackHeights([100_000, 1, 0, 1], 40);
  expect(parts[1]).toBe(1);
  expect(parts[2]).toBe(0);
  expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(40);
});

test.each([
  [600e6, 12, 60e6],
  [10e6, 12, 1e6],
  [350, 12, 50],
  [40 * 86_400e6, 12, 5 * 86_400e6],
])("a range of %d microseconds has round times", (length, most, step) => {
  const from = Date.UTC(2026, 10, 22, 18, 0, 0) * 1000 + 17;
  const found = ticks({ from, to: from + length }, most, 0);
  expect(found.step).toBe(step);
  expect(found.at.length).toBeGreaterThan(2);
  expect(found.at.length).toBeLessThanOrEqual(most + 1);
  for (const at of found.at) expect(at % 50).toBe(0);
});

test("the times are round in the reader's zone", () => {
  const offset = 5.5 * 3600e6;
  const from = Date.UTC(2026, 10, 22, 18) * 1000;
  for (const at of ticks({ from, to: from + 10 * 3600e6 }, 12, offset).at)
    expect((at + offset) % 3600e6).toBe(0);
});

test("ticks of an empty range terminate", () => {
  expect(ticks({ from: 5, to: 5 }, 10, 0).at.length).toBeLessThanOrEqual(1);
});
