import { type PointerEvent, type RefObject, useEffect, useRef, useState } from "react";
import type { Range } from "./bars";
import { between, moveRange, zoomRange } from "./range";

interface Options {
  plot: RefObject<HTMLDivElement | null>;
  shown: Range;
  whole: Range;
  span: Range | undefined;
  onSpan: (span: Range | undefined) => void;
  onZoom: (range: Range | undefined) => void;
}

type Drag = { from: number; x: number } & ({ does: "select" } | { does: "pan"; shown: Range });

/** How near to an edge of the span a pointer must be to move that edge, in pixels. */
const edgeReach = 5;
const leastDrag = 3;

/** Selects a span by dragging, moves its edges, pans with shift and zooms by the wheel. */
export function useBrush({ plot, shown, whole, span, onSpan, onZoom }: Options) {
  const drag = useRef<Drag>(undefined);
  const [draft, setDraft] = useState<Range>();
  const [pointer, setPointer] = useState<{ x: number; at: number; isAtEdge: boolean }>();

  const place = (clientX: number) => {
    const box = plot.current?.getBoundingClientRect();
    const width = Math.max(1, box?.width ?? 1);
    const x = Math.min(Math.max(clientX - (box?.left ?? 0), 0), width);
    const perPixel = (shown.to - shown.from) / width;
    return { x, at: shown.from + x * perPixel, perPixel };
  };
  /** The edge that stays when the one under the pointer is moved. */
  const otherEdge = (at: number, perPixel: number): number | undefined => {
    if (!span) return undefined;
    const [first, last] = [Math.abs(at - span.from), Math.abs(at - span.to)];
    if (Math.min(first, last) > edgeReach * perPixel) return undefined;
    return first < last ? span.to : span.from;
  };

  const latest = useRef({ shown, whole, onZoom, place });
  useEffect(() => {
    latest.current = { shown, whole, onZoom, place };
  });
  useEffect(() => {
    const element = plot.current;
    // React listens to the wheel passively, and the page must not scroll meanwhile.
    const zoom = (event: WheelEvent) => {
      event.preventDefault();
      const now = latest.current;
      const { at, perPixel } = now.place(event.clientX);
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      const delta = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 16 : 1);
      if (isSideways) {
        if (now.shown.to - now.shown.from < now.whole.to - now.whole.from)
          now.onZoom(moveRange(now.shown, (event.deltaX || event.deltaY) * perPixel, now.whole));
      } else
        now.onZoom(zoomRange(now.shown, at, Math.exp(Math.max(-1, Math.min(1, delta / 300))), now.whole));
    };
    element?.addEventListener("wheel", zoom, { passive: false });
    return () => element?.removeEventListener("wheel", zoom);
  }, [plot]);

  return {
    /** The span as it is being drawn. */
    draft,
    pointer,
    handlers: {
      onPointerDown: (event: PointerEvent<HTMLDivElement>) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        const { x, at, perPixel } = place(event.clientX);
        drag.current = event.shiftKey
          ? { does: "pan", from: at, x, shown }
          : { does: "select", from: otherEdge(at, perPixel) ?? at, x };
      },
      onPointerMove: (event: PointerEvent<HTMLDivElement>) => {
        const { x, at, perPixel } = place(event.clientX);
        const now = drag.current;
        setPointer({ x, at, isAtEdge: otherEdge(at, perPixel) !== undefined });
        if (now?.does === "pan") {
          const isPart = now.shown.to - now.shown.from < whole.to - whole.from;
          if (isPart) onZoom(moveRange(now.shown, (now.x - x) * perPixel, whole));
        } else if (now && (draft || Math.abs(x - now.x) >= leastDrag)) {
          setDraft(between(now.from, at, whole));
        }
      },
      onPointerUp: () => {
        drag.current = undefined;
        if (draft) onSpan(draft);
        setDraft(undefined);
      },
      onPointerCancel: () => {
        drag.current = undefined;
        setDraft(undefined);
      },
      onPointerLeave: () => setPointer(undefined),
      onDoubleClick: () => onSpan(undefined),
    },
  };
}
