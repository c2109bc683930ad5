import { type ReactNode, useRef, useState } from "react";
import { byId, focusIds, useFocusAfter } from "@/hooks/focus";
import { useIsNarrow } from "@/hooks/media";
import { readStored, writeStored } from "@/hooks/settings";

const storeName = "ospulse.detail.width";
const usual = 560;
const least = 320;

/** A pane at the right with a width that the reader chooses. On narrow screens it is a sheet over the page. */
export function ResizablePane({ label, children }: { label: string; children: ReactNode }) {
  const isNarrow = useIsNarrow();
  const [width, setWidth] = useState(() => clamp(Number(readStored(storeName)) || usual));
  const pane = useRef<HTMLElement>(null);
  // The list whose row the pane is about, or the view.
  useFocusAfter(pane, () => {
    const view = byId(focusIds.view);
    return (
      view?.querySelector<HTMLElement>("[role=grid] [role=row][tabindex='0'], [role=grid][tabindex='0']") ??
      view
    );
  });
  const drag = useRef<{ x: number; width: number }>(undefined);
  const keep = (next: number) => {
    setWidth(clamp(next));
    writeStored(storeName, clamp(next));
  };
  if (isNarrow) {
    return (
      <aside ref={pane} aria-label={label} className="fixed inset-0 z-30 flex flex-col bg-surface">
        {children}
      </aside>
    );
  }
  const widthAt = (x: number) => (drag.current ? drag.current.width + drag.current.x - x : width);
  return (
    <aside
      ref={pane}
      aria-label={label}
      className="relative flex max-w-[70vw] shrink-0 flex-col border-l border-line bg-surface"
      style={{ width }}
    >
      <div
        role="separator"
        tabIndex={0}
        aria-orientation="vertical"
        aria-label="Width of the details"
        aria-valuenow={width}
        aria-valuemin={least}
        aria-valuemax={most()}
        className="absolute inset-y-0 -left-1 z-20 w-2 cursor-col-resize touch-none hover:bg-accent/40"
        // Otherwise the browser drags the selected text of the page.
        onMouseDown={(event) => event.preventDefault()}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          drag.current = { x: event.clientX, width };
        }}
        onPointerMove={(event) => drag.current && setWidth(clamp(widthAt(event.clientX)))}
        onPointerCancel={() => {
          drag.current = undefined;
        }}
        onPointerUp={(event) => {
          if (drag.current) keep(widthAt(event.clientX));
          drag.current = undefined;
        }}
        onDoubleClick={() => keep(usual)}
        onKeyDown={(event) => {
          const by = { ArrowLeft: 16, ArrowRight: -16 }[event.key];
          if (by === undefined) return;
          event.preventDefault();
          keep(width + by);
        }}
      />
      {children}
    </aside>
  );
}

const most = () => Math.round(window.innerWidth * 0.7);

function clamp(width: number): number {
  return Math.round(Math.max(least, Math.min(width, most())));
}
