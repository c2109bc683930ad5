import { type RefObject, useCallback, useEffect, useLayoutEffect, useReducer, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { LongScroll } from "./long-scroll";

const restMillis = 150;

interface Options {
  scroller: RefObject<HTMLElement | null>;
  rows: number;
  rowHeight: number;
  /** The height of the sticky header. */
  headHeight: number;
  /** Called when the reader scrolled, not the page itself. */
  onScroll: (scroll: LongScroll, isUp: boolean) => void;
}

/** Connects a LongScroll to a scroller. It rerenders when other rows become visible. */
export function useLongScroll({ scroller, rows, rowHeight, headHeight, onScroll }: Options) {
  const [scroll] = useState(() => new LongScroll(rowHeight));
  const [viewport, setViewport] = useState(600);
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const latest = useRef(onScroll);
  const drawn = useRef({ from: -1, base: 0 });
  // During rendering, so that the height is set before the scroller is moved.
  const wantedTop = scroll.resize(rows, viewport);

  // The height in which rows are visible.
  const heightOf = useCallback(
    (element: HTMLElement) => Math.max(rowHeight, element.clientHeight - headHeight),
    [rowHeight, headHeight],
  );
  const put = useCallback(
    (top: number | undefined) => {
      const element = scroller.current;
      if (top === undefined || !element) return;
      if (Math.abs(element.scrollTop - top) >= 1) element.scrollTop = top;
      // A hidden scroller cannot be moved.
      if (element.clientHeight > 0) scroll.placed(element.scrollTop);
      redraw();
    },
    [scroll, scroller],
  );

  useLayoutEffect(() => {
    latest.current = onScroll;
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: only a change of the height moves the scroller
  useLayoutEffect(() => put(wantedTop), [put, rows, viewport]);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const measure = () => setViewport(heightOf(element));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [scroller, heightOf]);

  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    let timer: ReturnType<typeof setTimeout>;
    const scrolled = () => {
      const before = scroll.position;
      put(scroll.scrolled(element.scrollTop));
      clearTimeout(timer);
      timer = setTimeout(() => put(scroll.settle()), restMillis);
      if (scroll.position === before) return;
      // When the scroller grows, the browser moves it to its new end, maybe before the page has measured it.
      const isMeasured = scroll.viewport === heightOf(element);
      latest.current(scroll, scroll.position < before && isMeasured);
      const { from } = scroll.range();
      if (from === drawn.current.from && scroll.base === drawn.current.base) return;
      drawn.current = { from, base: scroll.base };
      flushSync(redraw);
    };
    // While rows arrive, the page moves the scroller. That ends the browser's own smooth scroll,
    // maybe before its first step, so the turn of the wheel already counts.
    const wheeled = ({ deltaY, ctrlKey }: WheelEvent) => {
      if (deltaY < 0 && !ctrlKey && scroll.position > 0) latest.current(scroll, true);
    };
    element.addEventListener("scroll", scrolled, { passive: true });
    element.addEventListener("wheel", wheeled, { passive: true });
    return () => {
      clearTimeout(timer);
      element.removeEventListener("scroll", scrolled);
      element.removeEventListener("wheel", wheeled);
    };
  }, [scroll, scroller, put, heightOf]);

  return { scroll, put };
}
