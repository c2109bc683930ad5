import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FeedStore } from "./feed-store";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("stores that change one after the other show it at the same moment", () => {
  let events = 0;
  const rows = new FeedStore(() => events);
  const counts = new FeedStore(() => events);
  const shown: [number, number][] = [];
  events = 1;
  rows.changedSoon();
  vi.advanceTimersByTime(100);
  events = 2;
  counts.changedSoon();
  for (let millis = 0; millis < 500; millis += 10) {
    vi.advanceTimersByTime(10);
    shown.push([rows.getState(), counts.getState()]);
  }
  expect(shown.filter(([a, b]) => a !== b)).toEqual([]);
  expect(shown.at(-1)).toEqual([2, 2]);
});
