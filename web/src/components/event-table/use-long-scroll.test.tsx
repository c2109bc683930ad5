import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { useRef } from "react";
import { afterEach, expect, test, vi } from "vitest";
import { useLongScroll } from "./use-long-scroll";

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const rows = 100;
const rowHeight = 10;

function Table({ onScroll }: { onScroll: (isUp: boolean) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  useLongScroll({ scroller, rows, rowHeight, headHeight: 0, onScroll: (_, isUp) => onScroll(isUp) });
  return <div ref={scroller} role="grid" />;
}

function setHeight(grid: HTMLElement, height: number): void {
  Object.defineProperty(grid, "clientHeight", { configurable: true, value: height });
}

function scroll(grid: HTMLElement, top: number): void {
  grid.scrollTop = top;
  fireEvent.scroll(grid);
}

test("the browser's own scroll in a table that grows is not the reader's", () => {
  const measures: (() => void)[] = [];
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(measure: () => void) {
        measures.push(measure);
      }
      observe() {}
      disconnect() {}
    },
  );
  const ups: boolean[] = [];
  render(<Table onScroll={(isUp) => ups.push(isUp)} />);
  const grid = screen.getByRole("grid");
  const measure = () =>
    act(() => {
      for (const each of measures) each();
    });
  setHeight(grid, 200);
  measure();
  scroll(grid, 800);
  setHeight(grid, 300);
  scroll(grid, 700); // by the browser, before the page measures the table
  expect(ups).toEqual([false, false]);
  measure();
  scroll(grid, 690);
  expect(ups).toEqual([false, false, true]);
});

test("a wheel that turns up is the reader's, even if the page stops its scroll", () => {
  const ups: boolean[] = [];
  render(<Table onScroll={(isUp) => ups.push(isUp)} />);
  const grid = screen.getByRole("grid");
  fireEvent.wheel(grid, { deltaY: -100 }); // already at the first row
  scroll(grid, 100);
  fireEvent.wheel(grid, { deltaY: 100 });
  expect(ups).toEqual([false]);
  fireEvent.wheel(grid, { deltaY: -100 });
  expect(ups).toEqual([false, true]);
});
