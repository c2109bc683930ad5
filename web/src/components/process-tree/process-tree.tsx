import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronDown, ChevronRight } from "lucide-react";
import { type KeyboardEvent, useMemo, useRef, useState } from "react";
import type { ProcessNode } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { formatCount } from "@/lib/number";
import { formatClock, formatDuration, toMicros } from "@/lib/time";
import { Activity } from "./activity";
import { KindCounts } from "./kind-counts";
import { isSelected, type ProcessRow, rowsOf, selectedIds, selectionOf } from "./rows";

const rowHeight = 30;
const columns =
  "grid grid-cols-[minmax(0,1fr)_4rem] sm:grid-cols-[minmax(0,1fr)_7rem_4.5rem_9rem] lg:grid-cols-[minmax(0,2fr)_7.5rem_6rem_4.5rem_11rem_minmax(8rem,1fr)] items-center gap-3 px-3";

interface Props {
  sessionId: string;
  roots: readonly ProcessNode[];
  search: string;
  live: boolean;
  from: string;
  to: string;
}

/** The processes as a tree. Choosing one selects its events in all views. */
export function ProcessTree({ sessionId, roots, search, live, from, to }: Props) {
  const { view, change } = useView();
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [focused, setFocused] = useState(0);
  const rows = useMemo(() => rowsOf(roots, closed, search), [roots, closed, search]);
  const selectedProcesses = useMemo(() => selectedIds(roots, view.process), [roots, view.process]);
  const scroller = useRef<HTMLDivElement>(null);
  const visible = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 8,
    initialRect: { width: 800, height: 600 },
  });

  const setOpen = (node: ProcessNode, open: boolean) => {
    const next = new Set(closed);
    if (open) next.delete(node.id);
    else next.add(node.id);
    setClosed(next);
  };
  const choose = (node: ProcessNode) =>
    change({ process: isSelected(node, view.process) ? undefined : selectionOf(node) });
  const focus = (index: number) => {
    const next = Math.min(rows.length - 1, Math.max(0, index));
    setFocused(next);
    visible.scrollToIndex(next);
    requestAnimationFrame(() =>
      scroller.current?.querySelector<HTMLElement>(`[data-index="${next}"]`)?.focus(),
    );
  };
  const handleKey = (event: KeyboardEvent, row: ProcessRow, index: number) => {
    const move = moves[event.key];
    if (move) focus(move(index, rows));
    else if (event.key === "ArrowRight" && row.node.children.length > 0)
      row.isOpen ? focus(index + 1) : setOpen(row.node, true);
    else if (event.key === "ArrowLeft") {
      if (row.isOpen && row.node.children.length > 0) setOpen(row.node, false);
      else focus(rows.findLastIndex((other, at) => at < index && other.depth < row.depth));
    } else if (event.key === "Enter" || event.key === " ") choose(row.node);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div ref={scroller} className="min-h-0 flex-1 overflow-auto">
      <div role="treegrid" aria-label="Processes" aria-rowcount={rows.length + 1}>
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
            Seen for
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
          {visible.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            const selected = isSelected(row.node, view.process);
            return (
              <div
                key={row.node.id}
                role="row"
                data-index={item.index}
                aria-rowindex={item.index + 2}
                aria-level={row.depth + 1}
                aria-selected={selected}
                aria-expanded={row.node.children.length > 0 ? row.isOpen : undefined}
                tabIndex={item.index === Math.min(focused, rows.length - 1) ? 0 : -1}
                onFocus={() => setFocused(item.index)}
                onClick={() => choose(row.node)}
                onKeyDown={(event) => handleKey(event, row, item.index)}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                className={`${columns} absolute inset-x-0 cursor-pointer border-b border-line -outline-offset-2 ${selectedProcesses.has(row.node.id) ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                <Name row={row} onToggle={() => setOpen(row.node, !row.isOpen)} />
                <Numbers node={row.node} />
                <span role="gridcell" className="hidden lg:block">
                  <Activity sessionId={sessionId} node={row.node} from={from} to={to} live={live} />
                </span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

const moves: Record<string, (index: number, rows: ProcessRow[]) => number> = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  PageDown: (index) => index + 15,
  PageUp: (index) => index - 15,
  Home: () => 0,
  End: (_, rows) => rows.length - 1,
};

function Name({ row: { node, depth, isOpen }, onToggle }: { row: ProcessRow; onToggle: () => void }) {
  const Icon = isOpen ? ChevronDown : ChevronRight;
  return (
    <span
      role="gridcell"
      className="flex min-w-0 items-center gap-1.5"
      style={{ paddingLeft: Math.min(depth, 14) * 16 }}
    >
      {node.children.length > 0 ? (
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
        text={node.name || node.image || "(no name)"}
        limit={120}
        className="max-w-[60%] shrink-0 truncate font-medium"
      />
      <span className="shrink-0 font-mono text-xs text-muted">{node.pid}</span>
      <SafeText
        text={node.command_line}
        limit={400}
        className="min-w-0 truncate font-mono text-xs text-muted"
      />
    </span>
  );
}

function Numbers({ node }: { node: ProcessNode }) {
  const { zone } = useSettings();
  return (
    <>
      <span
        role="gridcell"
        className="hidden font-mono text-xs text-muted sm:block"
        title={node.start_known ? "When it started" : "When it was first seen; its start was not captured"}
      >
        {node.start_known ? "" : "≤ "}
        {formatClock(node.started_at, zone).slice(0, 12)}
      </span>
      <span role="gridcell" className="hidden text-right text-xs text-muted tabular-nums lg:block">
        {formatDuration(toMicros(node.last_seen) - toMicros(node.started_at))}
      </span>
      <span role="gridcell" className="text-right font-mono text-xs tabular-nums">
        {formatCount(node.event_count)}
      </span>
      <span role="gridcell" className="hidden sm:block">
        <KindCounts counts={node.event_counts} />
      </span>
    </>
  );
}
