import { ChevronDown, ChevronRight } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { ProcessRow } from "@/api/client";
import { fetchTree, type TreeSearch } from "@/api/process-tree";
import { Clock } from "@/components/clock";
import { FindingSign } from "@/components/findings/mark";
import { SafeText } from "@/components/safe-text";
import { Table, type TableColumn, useVisibleRows } from "@/components/table/table";
import { type FindingMark, usePlacedMarks } from "@/hooks/findings";
import { useTreeRow, useTreeRows } from "@/hooks/process-tree";
import { useView } from "@/hooks/view";
import { formatCount } from "@/lib/number";
import { formatDuration, toMicros } from "@/lib/time";
import { Activity } from "./activity";
import { KindCounts } from "./kind-counts";
import { countOf, countsOf, markOf, selectionOf } from "./rows";

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
  const visible = useVisibleRows(count, 30);
  const { scroller, virtual, items } = visible;
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  const rowAt = useTreeRows(sessionId, search, { first, last, count });
  const place = useTreeRow(sessionId, search, chosen).data;

  // A link and the other views may choose a process that is far down.
  const [isFar, setFar] = useState(chosen !== undefined);
  useEffect(() => {
    if (!isFar || !place) return;
    setFar(false);
    if (place.row) virtual.scrollToIndex(place.index, { align: "center" });
  }, [isFar, place, virtual]);

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
    virtual.scrollToIndex(next);
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

  const marks = usePlacedMarks(sessionId);
  const isFiltered = search.filter !== "";
  const columns: TableColumn<ProcessRow>[] = [
    {
      id: "process",
      label: "Process",
      width: 200,
      grow: "2fr",
      phone: 0,
      cell: (row) => (
        <Name
          row={row}
          mark={markOf(marks, row)}
          isOpen={isOpen(row)}
          onToggle={() => setOpen(row.id, !isOpen(row))}
        />
      ),
    },
    {
      id: "start",
      label: "Start",
      width: 132,
      look: "font-mono text-xs text-muted",
      cell: (row) => (
        <span
          title={row.start_known ? "When it started" : "When it was first seen; its start was not captured"}
        >
          {row.start_known ? "" : "≤ "}
          <Clock at={row.started_at} />
        </span>
      ),
    },
    {
      id: "lifetime",
      label: "Lifetime",
      width: 108,
      align: "right",
      look: "text-xs text-muted",
      cell: (row) => formatDuration(toMicros(row.last_seen) - toMicros(row.started_at)),
    },
    {
      id: "events",
      label: "Events",
      width: 84,
      phone: 76,
      align: "right",
      look: "font-mono text-xs",
      cell: (row) => (
        <span
          className={row.matches ? "" : "text-muted"}
          title={isFiltered ? `Selected of ${formatCount(row.event_count)}` : undefined}
        >
          {formatCount(countOf(row, isFiltered))}
        </span>
      ),
    },
    {
      id: "kinds",
      label: "By kind",
      width: 188,
      cell: (row) => <KindCounts counts={countsOf(row, isFiltered)} />,
    },
    {
      id: "activity",
      label: "Activity",
      width: 140,
      grow: "1fr",
      cell: (node) => <Activity {...{ sessionId, node, filter: search.filter, from, to, live }} />,
    },
  ];
  return (
    <Table
      role="treegrid"
      label="Processes"
      name="processes"
      columns={columns}
      count={count}
      rowAt={rowAt}
      keyAt={(index) => index}
      visible={visible}
      isStale={isStale}
      rowProps={(index, row) => ({
        "aria-level": row && row.depth + 1,
        "aria-selected": row !== undefined && isChosen(row),
        "aria-expanded": row?.has_children ? isOpen(row) : undefined,
        tabIndex: index === current ? 0 : -1,
        onFocus: () => setFocused(index),
        onClick: () => row && choose(row),
        onKeyDown: (event) => handleKey(event, index),
        className: `cursor-pointer ${row && isSelected(row, index) ? "bg-selected" : "bg-surface hover:bg-hover"}`,
      })}
    />
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

interface NameProps {
  row: ProcessRow;
  mark: FindingMark | undefined;
  isOpen: boolean;
  onToggle: () => void;
}

function Name({ row, mark, isOpen, onToggle }: NameProps) {
  const Icon = isOpen ? ChevronDown : ChevronRight;
  return (
    <span
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
      {mark && <FindingSign mark={mark} />}
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
