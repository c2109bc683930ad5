import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronDown, ChevronRight } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { ProcessRow } from "@/api/client";
import { fetchTree, type TreeSearch } from "@/api/process-tree";
import { SafeText } from "@/components/safe-text";
import { useTreeRow, useTreeRows } from "@/hooks/process-tree";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { formatCount } from "@/lib/number";
import { formatClock, formatDuration, toMicros } from "@/lib/time";
import { Activity } from "./activity";
import { KindCounts } from "./kind-counts";
import { countOf, countsOf, selectionOf } from "./rows";

const rowHeight = 30;
const headerHeight = 32;
const columns =
  "grid grid-cols-[minmax(0,1fr)_4rem] sm:grid-cols-[minmax(0,1fr)_7rem_4.5rem_9rem] lg:grid-cols-[minmax(0,2fr)_7.5rem_6rem_4.5rem_11rem_minmax(8rem,1fr)] items-center gap-3 px-3";

interface Props {
  sessionId: string;
  search: TreeSearch;
  /** The number of rows. */
  count: number;
  isStale: boolean;
  setOpen: (id: string, isOpen: boolean) => void;
  /** The id of the chosen process. */
  chosen: string | undefined;
  live: boolean;
  from: string;
  to: string;
}

/** The processes as a tree. Choosing one selects its events in all views. */
export function ProcessTree({ sessionId, search, count, isStale, setOpen, chosen, live, from, to }: Props) {
  const { view, change } = useView();
  const scroller = useRef<HTMLDivElement>(null);
  const visible = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 8,
    scrollMargin: headerHeight,
    scrollPaddingStart: headerHeight, // the header stays above the rows
    initialRect: { width: 800, height: 600 },
  });
  const items = visible.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  const rowAt = useTreeRows(sessionId, search, { first, last, count });
  const place = useTreeRow(sessionId, search, chosen).data;

  // A link and the other views may choose a process that is far down.
  const [isFar, setFar] = useState(chosen !== undefined);
  useEffect(() => {
    if (!isFar || !place) return;
    setFar(false);
    if (place.row) visible.scrollToIndex(place.index, { align: "center" });
  }, [isFar, place, visible]);

  const [focused, setFocused] = useState(0);
  const current = Math.min(Math.max(focused, first), last);
  const wantsFocus = useRef<number>(undefined);
  useEffect(() => {
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${wantsFocus.current}"]`);
    if (!row) return; // it is drawn once the scroller is there
    wantsFocus.current = undefined;
    row.focus({ preventScroll: true });
  });
  const focus = (index: number) => {
    const next = Math.min(count - 1, Math.max(0, index));
    wantsFocus.current = next;
    setFocused(next);
    visible.scrollToIndex(next);
  };
  const focusParent = async ({ parent_id }: ProcessRow, index: number) => {
    for (let at = index - 1; at >= first; at--) if (rowAt(at)?.id === parent_id) return focus(at);
    if (parent_id === null) return;
    const page = await fetchTree(sessionId, search, { around: parent_id, limit: 1 });
    if (page.rows[0]) focus(page.offset);
  };

  const isChosen = (row: ProcessRow) =>
    row.id === chosen || (view.process !== undefined && !view.process.id && view.process.pid === row.pid);
  const choose = (row: ProcessRow) => change({ process: isChosen(row) ? undefined : selectionOf(row) });
  const isOpen = (row: ProcessRow) => !search.closed.includes(row.id);
  const handleKey = (event: KeyboardEvent, index: number) => {
    const row = rowAt(index);
    const move = moves[event.key];
    if (move) focus(move(index, count));
    else if (!row) return;
    else if (event.key === "ArrowRight" && row.has_children)
      isOpen(row) ? focus(index + 1) : setOpen(row.id, true);
    else if (event.key === "ArrowLeft") {
      if (isOpen(row) && row.has_children) setOpen(row.id, false);
      else void focusParent(row, index).catch(() => {});
    } else if (event.key === "Enter" || event.key === " ") choose(row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  // The rows of the chosen process and its descendants.
  const [top, topIndex] = topOf(items, rowAt, chosen) ?? [place?.row, place?.index ?? 0];
  const below = top && view.process?.id && !view.process.alone ? top.rows_below : 0;
  const isSelected = (row: ProcessRow, index: number) =>
    isChosen(row) || (top != null && index > topIndex && index <= topIndex + below);

  return (
    <div
      ref={scroller}
      className={`min-h-0 flex-1 overflow-auto ${isStale ? "opacity-60" : ""}`}
      aria-busy={isStale}
    >
      <div role="treegrid" aria-label="Processes" aria-rowcount={count + 1}>
        <div
          role="row"
          aria-rowindex={1}
          className={`${columns} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
        >
          <span role="columnheader">Process</span>
          <span role="columnheader" className="hidden sm:block">
            Start
          </span>
          <span role="columnheader" className="hidden text-right lg:block">
            Lifetime
          </span>
          <span role="columnheader" className="text-right">
            Events
          </span>
          <span role="columnheader" className="hidden sm:block">
            By kind
          </span>
          <span role="columnheader" className="hidden lg:block">
            Activity
          </span>
        </div>
        <div role="rowgroup" className="relative" style={{ height: visible.getTotalSize() }}>
          {items.map(({ index, start }) => {
            const row = rowAt(index);
            const isFiltered = search.filter !== "";
            return (
              <div
                key={index}
                role="row"
                data-index={index}
                aria-rowindex={index + 2}
                aria-level={row && row.depth + 1}
                aria-selected={row !== undefined && isChosen(row)}
                aria-expanded={row?.has_children ? isOpen(row) : undefined}
                tabIndex={index === current ? 0 : -1}
                onFocus={() => setFocused(index)}
                onClick={() => row && choose(row)}
                onKeyDown={(event) => handleKey(event, index)}
                style={{ transform: `translateY(${start - headerHeight}px)`, height: rowHeight }}
                className={`${columns} absolute inset-x-0 cursor-pointer border-b border-line -outline-offset-2 ${row && isSelected(row, index) ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                {row ? (
                  <>
                    <Name row={row} isOpen={isOpen(row)} onToggle={() => setOpen(row.id, !isOpen(row))} />
                    <Numbers row={row} isFiltered={isFiltered} />
                    <span role="gridcell" className="hidden lg:block">
                      <Activity
                        sessionId={sessionId}
                        node={row}
                        filter={search.filter}
                        from={from}
                        to={to}
                        live={live}
                      />
                    </span>
                  </>
                ) : (
                  <span role="gridcell" className="text-muted">
                    …
                  </span>
                )}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** The chosen row and its index, if it is drawn. */
function topOf(
  items: readonly { index: number }[],
  rowAt: (index: number) => ProcessRow | undefined,
  chosen: string | undefined,
): [ProcessRow, number] | undefined {
  for (const { index } of items) {
    const row = rowAt(index);
    if (row && row.id === chosen) return [row, index];
  }
}

const moves: Record<string, (index: number, count: number) => number> = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  PageDown: (index) => index + 15,
  PageUp: (index) => index - 15,
  Home: () => 0,
  End: (_, count) => count - 1,
};

function Name({ row, isOpen, onToggle }: { row: ProcessRow; isOpen: boolean; onToggle: () => void }) {
  const Icon = isOpen ? ChevronDown : ChevronRight;
  return (
    <span
      role="gridcell"
      className="flex min-w-0 items-center gap-1.5"
      style={{ paddingLeft: Math.min(row.depth, 14) * 16 }}
      title={row.matches ? undefined : "Started a process that matches"}
    >
      {row.has_children ? (
        <button
          type="button"
          tabIndex={-1}
          aria-label={isOpen ? "Close" : "Open"}
          className="rounded text-muted hover:text-ink"
          onClick={(event) => {
            event.stopPropagation();
            onToggle();
          }}
        >
          <Icon size={14} />
        </button>
      ) : (
        <span className="w-3.5 shrink-0" />
      )}
      <SafeText
        text={row.name || row.image || "(no name)"}
        limit={120}
        className={`max-w-[60%] shrink-0 truncate ${row.matches ? "font-medium" : "text-muted italic"}`}
      />
      <span className="shrink-0 font-mono text-xs text-muted">{row.pid}</span>
      <SafeText
        text={row.command_line}
        limit={400}
        className="min-w-0 truncate font-mono text-xs text-muted"
      />
    </span>
  );
}

function Numbers({ row, isFiltered }: { row: ProcessRow; isFiltered: boolean }) {
  const { zone } = useSettings();
  return (
    <>
      <span
        role="gridcell"
        className="hidden font-mono text-xs text-muted sm:block"
        title={row.start_known ? "When it started" : "When it was first seen; its start was not captured"}
      >
        {row.start_known ? "" : "≤ "}
        {formatClock(row.started_at, zone).slice(0, 12)}
      </span>
      <span role="gridcell" className="hidden text-right text-xs text-muted tabular-nums lg:block">
        {formatDuration(toMicros(row.last_seen) - toMicros(row.started_at))}
      </span>
      <span
        role="gridcell"
        className={`text-right font-mono text-xs tabular-nums ${row.matches ? "" : "text-muted"}`}
        title={isFiltered ? `Selected of ${formatCount(row.event_count)}` : undefined}
      >
        {formatCount(countOf(row, isFiltered))}
      </span>
      <span role="gridcell" className="hidden sm:block">
        <KindCounts counts={countsOf(row, isFiltered)} />
      </span>
    </>
  );
}
