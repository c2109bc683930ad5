import { type KeyboardEvent, useEffect, useRef } from "react";
import { useShortcut } from "@/hooks/shortcuts";
import { Table, type TableColumn, useVisibleRows } from "./table";

interface Props<T> {
  /** The names of the list and of one row, for screen readers and the sheet of keys: "Files", "file". */
  label: string;
  one: string;
  /** The name under which the browser keeps the widths of the columns. */
  name: string;
  columns: readonly TableColumn<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  rowHeight?: number;
  sort?: string;
  onSort?: (id: string) => void;
  /** The key of the chosen row. */
  chosen: string | number | undefined;
  onChoose: (row: T | undefined) => void;
  /** Called by Enter in a row, if that does more than choose it. */
  onOpen?: (row: T) => void;
  /** Called when the end of the list becomes visible. */
  onEnd?: () => void;
  className?: string;
}

/**
 * A list of any number of rows of equal height. The reader chooses a row by a click, by the
 * arrow keys in the list, or by j, k and Esc anywhere.
 */
export function Grid<T>({ one, rows, keyOf, chosen, rowHeight = 28, ...props }: Props<T>) {
  const { onChoose, onOpen = onChoose, onEnd, ...rest } = props;
  const { label } = rest;
  const visible = useVisibleRows(rows.length, rowHeight, onEnd);
  const { scroller, virtual } = visible;
  const index = chosen === undefined ? -1 : rows.findIndex((row) => keyOf(row) === chosen);
  // The row that gets the focus once it is drawn: the one with the focus may scroll away.
  const wanted = useRef<number>(undefined);
  const move = (step: number) => {
    const next = Math.min(rows.length - 1, Math.max(0, index + step));
    wanted.current = next;
    virtual.scrollToIndex(next);
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
    // A link or button in the row has its own Enter.
    if (event.key === "Enter" && event.target === event.currentTarget) onOpen(row);
    else if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else return;
    event.preventDefault();
  };
  return (
    <Table
      {...rest}
      role="grid"
      count={rows.length}
      rowAt={(at) => rows[at]}
      keyAt={(at) => (rows[at] === undefined ? at : keyOf(rows[at]))}
      visible={visible}
      rowProps={(at, row) => ({
        "aria-selected": at === index,
        tabIndex: at === index || (index < 0 && at === 0) ? 0 : -1,
        onClick: () => onChoose(row),
        onKeyDown: (event) => row !== undefined && handleKey(event, row),
        className: `cursor-pointer text-xs ${at === index ? "bg-selected" : "bg-surface hover:bg-hover"}`,
      })}
    />
  );
}
