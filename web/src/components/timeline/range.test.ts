import { expect, test } from "vitest";
import { between, moveRange, rangeOfSpan, spanByKey, spanOfRange, zoomRange } from "./range";

const whole = { from: 1_790_000_000_000_000, to: 1_790_000_600_000_000 };
const at = (seconds: number) => whole.from + seconds * 1e6;

test("zooming keeps the time under the pointer where it is", () => {
  const zoomed = zoomRange(whole, at(150), 0.5, whole);
  expect(zoomed).toEqual({ from: at(75), to: at(375) });
});

test("zooming out ends with the whole session, and in with microseconds", () => {
  expect(zoomRange({ from: at(10), to: at(500) }, at(20), 2, whole)).toBeUndefined();
  const small = zoomRange({ from: at(1), to: at(1) + 25 }, at(1) + 5, 0.1, whole);
  expect(small && small.to - small.from).toBe(20);
});

test("zooming out at an edge stays within the session", () => {
  expect(zoomRange({ from: at(0), to: at(100) }, at(50), 2, whole)).toEqual({ from: at(0), to: at(200) });
});

test("moving keeps the length and stops at the ends", () => {
  expect(moveRange({ from: at(10), to: at(20) }, -30e6, whole)).toEqual({ from: at(0), to: at(10) });
  expect(moveRange({ from: at(590), to: at(595) }, 60e6, whole)).toEqual({ from: at(595), to: at(600) });
});

test("a drag to the left selects the same span as one to the right", () => {
  expect(between(at(20), at(-5), whole)).toEqual({ from: at(0), to: at(20) });
});

test("a span is exact to the microsecond, and an invalid one is ignored", () => {
  const range = { from: whole.from + 1, to: whole.from + 999_999 };
  expect(rangeOfSpan(spanOfRange(range))).toEqual(range);
  expect(rangeOfSpan({ from: "x", to: "2026-11-22T18:00:00Z" })).toBeUndefined();
  expect(rangeOfSpan({ from: "2026-11-22T18:00:01Z", to: "2026-11-22T18:00:00Z" })).toBeUndefined();
});

test("keys make a span, move it, change its end and go to the ends", () => {
  const first = spanByKey("ArrowRight", false, undefined, whole);
  expect(first).toEqual({ from: at(0), to: at(60) });
  expect(spanByKey("ArrowRight", false, first, whole)).toEqual({ from: at(12), to: at(72) });
  expect(spanByKey("ArrowRight", true, first, whole)).toEqual({ from: at(0), to: at(72) });
  expect(spanByKey("ArrowLeft", false, first, whole)).toEqual(first);
  expect(spanByKey("End", false, first, whole)).toEqual({ from: at(540), to: at(600) });
  expect(spanByKey("x", false, first, whole)).toBeUndefined();
});
