import { expect, test } from "vitest";
import { formatAgo, formatClock, formatDateTime, formatDuration, fromMicros, toMicros } from "./time";

test("times keep their microseconds", () => {
  for (const time of [
    "2026-11-22T18:57:39.967551Z",
    "1969-12-31T23:59:59.000001Z",
    "2026-02-28T00:00:00.000000Z",
  ]) {
    expect(fromMicros(toMicros(time))).toBe(time);
  }
  expect(toMicros("2026-11-22T18:57:39Z")).toBe(toMicros("2026-11-22T18:57:39.000000Z"));
  expect(toMicros("yesterday")).toBeNaN();
});

test("times are shown in UTC, and other text unchanged", () => {
  expect(formatClock("2026-11-22T18:57:39Z", "utc")).toBe("18:57:39.000000");
  expect(formatDateTime("2026-11-22T18:57:39.5Z", "utc")).toBe("2026-11-22 18:57:39");
  expect(formatDateTime("<b>", "utc")).toBe("<b>");
});

test.each([
  [350, "350 µs"],
  [1000, "1.00 ms"],
  [12_400, "12.4 ms"],
  [999_499, "999 ms"],
  [999_900, "1.00 s"],
  [3_200_000, "3.20 s"],
  [245e6, "4 min 05 s"],
  [7380e6, "2 h 03 min"],
  [-1e6, "−1.00 s"],
])("%d µs are %s", (micros, text) => expect(formatDuration(micros)).toBe(text));

test("the age of a time is approximate", () => {
  const now = Date.parse("2026-11-22T19:00:00Z");
  expect(formatAgo("2026-11-22T18:59:50Z", "utc", now)).toBe("just now");
  expect(formatAgo("2026-11-22T18:45:00Z", "utc", now)).toBe("15 min ago");
  expect(formatAgo("2026-11-20T18:45:00Z", "utc", now)).toBe("2026-11-20 18:45");
});
