import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { useRef } from "react";
import { afterEach, expect, test } from "vitest";
import { useLongScroll } from "./use-long-scroll";

afterEach(cleanup);

const rows = 100;
const rowHeight = 10;

function Table({ onScroll }: { onScroll: (isUp: boolean) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  useLongScroll({ scroller, rows, rowHeight, headHeight: 0, onScroll: (_, isUp) => onScroll(isUp) });
  return <div ref={scroller} role="grid" />;
}

/** Scrolls as a browser does, in a scroller of some height. */
function scroll(grid: HTMLElement, height: number, top: number): void {
  Object.defineProperties(grid, {
    clientHeight: { configurable: true, value: height },
    scrollHeight: { configurable: true, value: rows * rowHeight },
  });
  grid.scrollTop = Math.min(top, rows * rowHeight - height);
  fireEvent.scroll(grid);
}

test("a table that grows at its end is not scrolled up by the reader", () => {
  const ups: boolean[] = [];
  render(<Table onScroll={(isUp) => ups.push(isUp)} />);
  const grid = screen.getByRole("grid");
  scroll(grid, 200, 800);
  scroll(grid, 300, 800); // the browser moves it to 700, before the page measures it
  expect(ups).toEqual([false, false]);
  scroll(grid, 300, 690);
  expect(ups).toEqual([false, false, true]);
});
