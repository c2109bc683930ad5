import { expect, test } from "vitest";
import { LongScroll } from "./long-scroll";

const height = 26;

/** A fake scroller that clamps its position like a browser. */
function scrollerOf(rows: number, viewport: number) {
  const scroll = new LongScroll(height);
  let top = scroll.resize(rows, viewport);
  const clamp = (value: number) => Math.max(0, Math.min(value, scroll.height - viewport));
  return {
    scroll,
    get top() {
      return top;
    },
    by(step: number) {
      top = clamp(top + step);
      const next = scroll.scrolled(top);
      if (next !== undefined) top = clamp(next);
    },
    rest() {
      top = clamp(scroll.settle());
    },
    put(next: number | undefined) {
      if (next !== undefined) top = clamp(next);
    },
  };
}

test("rows within the browser's limit are not moved", () => {
  const it = scrollerOf(1000, 600);
  it.by(2600);
  expect(it.scroll).toMatchObject({ position: 2600, base: 0 });
  expect(it.scroll.range()).toEqual({ from: 100, to: 124 });
});

test.each([400_000, 1_000_000, 10_000_000])("a wheel skips none of %i rows", (rows) => {
  const it = scrollerOf(rows, 600);
  for (let i = 1; i <= 2000; i++) {
    it.by(120);
    if (i % 7 === 0) it.rest();
    expect(it.scroll.position).toBe(i * 120);
    // The drawn rows are within the scroller, at the viewport.
    expect(it.scroll.position + it.scroll.base).toBeCloseTo(it.top, 6);
  }
  for (let i = 0; i < 2100; i++) it.by(-120);
  expect(it.scroll.position).toBe(0);
  it.rest();
  expect(it.top).toBe(0);
});

test("a dragged scroll bar reaches both ends and every part between them", () => {
  const it = scrollerOf(10_000_000, 600);
  it.by(Number.MAX_SAFE_INTEGER);
  expect(it.scroll.range()).toEqual({ from: 9_999_976, to: 10_000_000 });
  it.by(-it.top / 2);
  expect(it.scroll.range().from / 1e7).toBeCloseTo(0.5, 3);
  it.by(-Number.MAX_SAFE_INTEGER);
  expect(it.scroll.range()).toEqual({ from: 0, to: 24 });
});

test("the last rows are reached by wheel from near the end", () => {
  const it = scrollerOf(10_000_000, 600);
  it.put(it.scroll.moveTo(it.scroll.end - 5000));
  for (let i = 0; i < 60; i++) it.by(100);
  expect(it.scroll.position).toBe(it.scroll.end);
  expect(it.scroll.range().to).toBe(10_000_000);
});

test("a row is revealed by the smallest move", () => {
  const it = scrollerOf(10_000_000, 520);
  expect(it.scroll.reveal(5)).toBeUndefined();
  it.put(it.scroll.reveal(20));
  expect(it.scroll.position).toBe(26);
  it.put(it.scroll.reveal(5_000_000, "middle"));
  const { from, to } = it.scroll.range();
  expect((from + to) / 2).toBeCloseTo(5_000_000, -1);
});

test("added rows do not move the visible ones", () => {
  const it = scrollerOf(300_000, 600);
  it.by(10_000);
  const { position } = it.scroll;
  it.put(it.scroll.resize(600_000, 600));
  expect(it.scroll.position).toBe(position);
  expect(it.scroll.position + it.scroll.base).toBeCloseTo(it.top, 6);
});
