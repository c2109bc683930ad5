import { ArrowDown } from "lucide-react";
import { type MouseEvent, useCallback, useId, useLayoutEffect, useRef, useState } from "react";
import type { EventFeed, FeedState } from "@/api/event-feed";
import { FindingSign } from "@/components/findings/mark";
import { Button } from "@/components/ui/button";
import { useFindingMarks } from "@/hooks/findings";
import { useSettings } from "@/hooks/settings";
import { formatCount } from "@/lib/number";
import type { ColumnId } from "./columns";
import { EventHeader, useEventColumns } from "./event-header";
import { EventRow, rowHeight } from "./event-row";
import type { EventTableProps } from "./props";
import { RowKeys } from "./row-keys";
import { useGridKeys } from "./use-grid-keys";
import { useLongScroll } from "./use-long-scroll";
import { type Asked, ValueMenu } from "./value-menu";

const headHeight = 28;
const around = 12; // rows drawn above and below the visible ones

/** Any number of events as a grid. */
export function EventTable(props: EventTableProps) {
  // Outside of the rows, which are drawn for each frame of a scroll.
  return <Rows {...props} table={useEventColumns(props.columnState)} />;
}

/** The table's rows and header. It draws and loads only the rows in sight. */
function Rows({ table, ...props }: EventTableProps & { table: ReturnType<typeof useEventColumns> }) {
  const { feed, state, columns, columnState, isNarrow, isFollowing, canFollow, follow, openSeq, open } =
    props;
  const { zone } = useSettings();
  const scroller = useRef<HTMLDivElement>(null);
  const idPrefix = useId();
  const [asked, setAsked] = useState<Asked>();
  const { scroll, put } = useLongScroll({
    scroller,
    rows: state.total,
    rowHeight,
    headHeight,
    onScroll: (moved, isUp) => {
      if (isUp && isFollowing) follow(false);
      else if (!isUp && !isFollowing && canFollow && moved.position >= moved.end - 1) follow(true);
    },
  });
  const ask = useCallback(
    (index: number, column: ColumnId, at?: { x: number; y: number }) => {
      const row = feed.row(index);
      if (!row || "missing" in row) return;
      const cell = document
        .getElementById(`${idPrefix}-${index}-${columns.findIndex(({ id }) => id === column)}`)
        ?.getBoundingClientRect();
      setAsked({ event: row, column, x: at?.x ?? cell?.left ?? 0, y: at?.y ?? cell?.bottom ?? 0 });
    },
    [feed, idPrefix, columns],
  );
  const cursor = useGridKeys({ ...props, scroll, put, ask });
  useRowsInPlace({ ...props, scroll, put });
  const newCount = useNewCount(state, isFollowing || !canFollow);
  const marks = useFindingMarks();

  const { from, to } = scroll.range(around);
  const [rowKeys] = useState(() => new RowKeys());
  const { width } = table;
  const at = cursor.index;
  const isDrawn = at !== undefined && at >= from && at < to;
  const current = at === undefined ? undefined : feed.row(at);
  const currentMark = current && !("missing" in current) ? marks.get(current.seq) : undefined;

  const click = (event: MouseEvent, isContext: boolean) => {
    const target = event.target as HTMLElement;
    const index = Number(target.closest<HTMLElement>("[data-index]")?.dataset.index ?? Number.NaN);
    if (Number.isNaN(index)) return;
    const column = columns[Number(target.closest<HTMLElement>("[data-column]")?.dataset.column)]?.id;
    cursor.set(index, column);
    // On a phone, values fill the rows: a tap opens the event, and a long tap opens the menu.
    if (column && (isContext || (!isNarrow && isValue(target, column)))) {
      event.preventDefault();
      ask(index, column, { x: event.clientX, y: event.clientY });
    } else if (!isContext && !hasSelection()) {
      const row = feed.row(index);
      if (row && !("missing" in row)) open(row.seq);
    }
  };

  return (
    <div className="relative flex min-h-0 flex-1 flex-col">
      <div
        ref={scroller}
        role="grid"
        aria-label="Events"
        aria-rowcount={state.total + 1}
        aria-colcount={columns.length}
        aria-activedescendant={
          isDrawn
            ? `${idPrefix}-${at}${cursor.column ? `-${columns.findIndex(({ id }) => id === cursor.column)}` : ""}`
            : undefined
        }
        tabIndex={0}
        onKeyDown={cursor.onKeyDown}
        onClick={(event) => click(event, false)}
        onContextMenu={(event) => click(event, true)}
        className="min-h-0 flex-1 overflow-auto overscroll-contain -outline-offset-2 [overflow-anchor:none]"
        style={{ "--columns": table.template } as React.CSSProperties}
      >
        <div role="rowgroup" style={{ minWidth: width }} className="sticky top-0 z-10">
          <EventHeader columns={table} state={columnState} isNarrow={isNarrow} />
        </div>
        <div role="rowgroup" className="relative" style={{ height: scroll.height, minWidth: width }}>
          <div
            role="presentation"
            className="absolute inset-x-0 top-0"
            style={{ transform: `translateY(${from * rowHeight + scroll.base}px)` }}
          >
            {rowKeys.of(from, to).map((key, place) => {
              const index = from + place;
              const row = feed.row(index);
              const previous = feed.row(index - 1);
              const seq = row && ("missing" in row ? row.missing : row.seq);
              return (
                <EventRow
                  key={key}
                  index={index}
                  row={row}
                  previousTime={previous && !("missing" in previous) ? previous.timestamp : undefined}
                  columns={columns}
                  zone={zone}
                  isNarrow={isNarrow}
                  isCurrent={index === at}
                  isOpen={openSeq !== undefined && seq === openSeq}
                  currentColumn={index === at ? cursor.column : undefined}
                  mark={typeof seq === "number" ? marks.get(seq) : undefined}
                  idPrefix={idPrefix}
                />
              );
            })}
          </div>
        </div>
      </div>
      {currentMark && (
        <p
          aria-hidden // the row says it
          className="pointer-events-none absolute bottom-2 left-2 z-10 max-w-[90%] truncate rounded border border-line bg-raised px-2 py-1 text-xs shadow-lg"
        >
          <FindingSign mark={currentMark} /> <span>{currentMark.text}</span>
        </p>
      )}
      {newCount > 0 && (
        <Button
          look="primary"
          size="small"
          className="absolute bottom-3 left-1/2 -translate-x-1/2 rounded-full shadow-lg"
          onClick={() => follow(true)}
        >
          <ArrowDown size={14} aria-hidden />
          {formatCount(newCount)} new
        </Button>
      )}
      <ValueMenu asked={asked} onClose={() => setAsked(undefined)} focusAfter={scroller} onOpen={open} />
    </div>
  );
}

/** Keeps the rows in place when the feed renumbers them, follows the end, and passes the visible rows to the feed. */
function useRowsInPlace({
  feed,
  state,
  scroll,
  put,
  isFollowing,
  openSeq,
}: EventTableProps & Pick<ReturnType<typeof useLongScroll>, "scroll" | "put">) {
  const seen = useRef<{ feed: EventFeed; shift: number }>(undefined);
  const revealed = useRef<number>(undefined);
  // It changes with the number of rows, and with the height of the table.
  const { end } = scroll;
  useLayoutEffect(() => {
    if (seen.current?.feed !== feed) {
      seen.current = { feed, shift: 0 };
      revealed.current = undefined;
      put(scroll.moveTo(0));
    }
    const by = state.shift - seen.current.shift;
    seen.current.shift = state.shift;
    if (by !== 0) put(scroll.moveTo(scroll.position + by * rowHeight));
    if (isFollowing) put(scroll.moveTo(end));
  }, [feed, state, scroll, put, isFollowing, end]);

  // Scrolls once to the event whose details are open, however it was opened.
  useLayoutEffect(() => {
    if (openSeq === undefined || revealed.current === openSeq) {
      revealed.current = openSeq;
      return;
    }
    const index = feed.indexOf(openSeq);
    if (index !== undefined) {
      revealed.current = openSeq;
      put(scroll.reveal(index, "middle"));
    } else if (!state.isPending) {
      revealed.current = openSeq; // only once: the filter may exclude it
      feed.find(openSeq);
    }
  }, [feed, state, scroll, put, openSeq]);

  const { from, to } = scroll.range();
  // biome-ignore lint/correctness/useExhaustiveDependencies: other rows may be missing when the feed has more
  useLayoutEffect(() => feed.show(from, to), [feed, from, to, state.total, state.shift]);
}

/** How many rows arrived since the reader left the end. */
function useNewCount(state: FeedState, isAtEdge: boolean): number {
  const [left, setLeft] = useState<number>();
  const count = state.count;
  if (isAtEdge && left !== undefined) setLeft(undefined);
  if (!isAtEdge && left === undefined && count !== undefined) setLeft(count);
  return left === undefined || count === undefined ? 0 : Math.max(0, count - left);
}

/** Whether the target is the text of a value, which has a menu, and not the space around it. */
function isValue(target: HTMLElement, column: ColumnId): boolean {
  return column !== "preview" && target.closest("bdi") !== null;
}

/** Whether text is selected. A reader who selects text does not want to open an event. */
function hasSelection(): boolean {
  return document.getSelection()?.isCollapsed === false;
}
