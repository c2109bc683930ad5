import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import { useShortcut } from "@/hooks/shortcuts";

interface Props<T> {
  /** The names of the list and of one row, for screen readers and the sheet of keys: "Files", "file". */
  label: string;
  one: string;
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  rowHeight?: number;
  /** The classes for the columns of a row and of the header. */
  columns: string;
  /** The headers of the columns, if any. */
  header?: ReactNode;
  /** The cells of a row. */
  cells: (row: T) => ReactNode;
  /** The key of the chosen row. */
  chosen: string | number | undefined;
  onChoose: (row: T | undefined) => void;
  /** Called when the end of the list becomes visible. */
  onEnd?: () => void;
  className?: string;
  /** The classes of the rows' container, such as its least width: a narrower list scrolls. */
  innerClass?: string;
}

/**
 * A list of any number of rows of equal height. It draws only the visible rows. The reader
 * chooses a row by a click, by the arrow keys in the list, or by j, k and Esc anywhere.
 */
export function Grid<T>(props: Props<T>) {
  const { label, one, rows, keyOf, rowHeight = 28, columns, header, cells, chosen, onChoose, onEnd } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const visible = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height: 600 },
  });
  const items = visible.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= rows.length - 50) onEnd?.();
  }, [last, rows.length, onEnd]);

  const index = chosen === undefined ? -1 : rows.findIndex((row) => keyOf(row) === chosen);
  // The row that gets the focus once it is drawn: the one with the focus may scroll away.
  const wanted = useRef<number>(undefined);
  const move = (step: number) => {
    const next = Math.min(rows.length - 1, Math.max(0, index + step));
    wanted.current = next;
    visible.scrollToIndex(next);
    onChoose(rows[next]);
  };
  useEffect(() => {
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"]`);
    if (wanted.current === undefined || !row) return;
    wanted.current = undefined;
    // The focus stays in another part of the page, such as the details.
    if (document.activeElement === document.body || scroller.current?.contains(document.activeElement))
      row.focus({ preventScroll: true });
  });
  useShortcut("j", `Next ${one}`, label, () => move(1));
  useShortcut("k", `Previous ${one}`, label, () => move(-1));
  useShortcut("Escape", "Close the details", label, () => onChoose(undefined));
  const handleKey = (event: KeyboardEvent, row: T) => {
    if (event.key === "Enter") onChoose(row);
    else if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else return;
    event.preventDefault();
  };

  return (
    <div ref={scroller} className={`min-h-0 min-w-0 flex-1 overflow-auto ${props.className ?? ""}`}>
      <div
        role="grid"
        className={props.innerClass}
        aria-label={label}
        aria-rowcount={rows.length + (header ? 1 : 0)}
      >
        {header && (
          <div
            role="row"
            aria-rowindex={1}
            className={`${columns} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
          >
            {header}
          </div>
        )}
        <div role="rowgroup" className="relative" style={{ height: visible.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            const isChosen = item.index === index;
            return (
              <div
                key={keyOf(row)}
                role="row"
                data-index={item.index}
                aria-rowindex={item.index + (header ? 2 : 1)}
                aria-selected={isChosen}
                tabIndex={isChosen || (index < 0 && item.index === 0) ? 0 : -1}
                onClick={() => onChoose(row)}
                onKeyDown={(event) => handleKey(event, row)}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                className={`${columns} absolute inset-x-0 cursor-pointer border-b border-line text-xs -outline-offset-2 ${isChosen ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                {cells(row)}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
