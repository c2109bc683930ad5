import { memo } from "react";
import type { ListedEvent } from "@/api/client";
import type { FeedRow } from "@/api/event-feed";
import { FindingSign, signOf } from "@/components/findings/mark";
import { SafeText } from "@/components/safe-text";
import type { FindingMark } from "@/hooks/findings";
import { kindOf, shortTypeLabel, typeLabel } from "@/lib/kind";
import { plainText } from "@/lib/text";
import { formatClock, formatDuration, toMicros } from "@/lib/time";
import { type Column, type ColumnId, type DataColumn, isDataColumn } from "./columns";
import { KindBadge } from "./kind-badge";
import { type Result, resultOf } from "./result";
import { cellText, dataCell } from "./value";

export const rowHeight = 26;
const cellLimit = 300;

interface Props {
  index: number;
  row: FeedRow;
  /** The time of the event above; undefined if it is not loaded. */
  previousTime: string | undefined;
  columns: readonly Column[];
  zone: "utc" | "local";
  isNarrow: boolean;
  isCurrent: boolean;
  isOpen: boolean;
  /** The column of the keyboard cursor, in the current row. */
  currentColumn: ColumnId | undefined;
  /** The findings that point to the event. */
  mark: FindingMark | undefined;
  idPrefix: string;
}

/** One row of the table. The table handles its clicks: data-column has the place of a column. */
export const EventRow = memo(function EventRow(props: Props) {
  const { index, row, columns, isCurrent, isOpen, mark, idPrefix } = props;
  const isEvent = row !== undefined && !("missing" in row);
  const isLoss = isEvent && kindOf(row.event_type).kind === "loss";
  return (
    <div
      role="row"
      id={`${idPrefix}-${index}`}
      aria-rowindex={index + 2}
      aria-selected={isOpen}
      data-index={index}
      className={`grid cursor-default contain-strict border-b border-line/60 ${
        isOpen ? "bg-selected" : isLoss ? "bg-bad-soft" : isCurrent ? "bg-hover" : "hover:bg-hover"
      } ${isCurrent ? "shadow-[inset_2px_0_0_var(--color-accent)]" : ""}`}
      style={{ height: rowHeight, lineHeight: `${rowHeight - 1}px`, gridTemplateColumns: "var(--columns)" }}
    >
      {isEvent ? (
        <>
          {columns.map((column, at) => (
            <Cell key={column.id} column={column.id} at={at} event={row} {...props} />
          ))}
          {mark && <div aria-hidden className={`absolute inset-y-0 left-0 w-1 ${signOf(mark.level).bar}`} />}
        </>
      ) : (
        <div role="gridcell" className="col-span-full truncate px-2 text-muted" aria-colindex={1}>
          {row ? `${row.missing} is not stored: it expired, or was lost or removed` : "…"}
        </div>
      )}
    </div>
  );
});

function Cell({
  column,
  at,
  event,
  isCurrent,
  currentColumn,
  ...props
}: Props & { column: ColumnId; at: number; event: ListedEvent }) {
  const isAt = isCurrent && currentColumn === column;
  // On a phone, only the last column has room.
  const signed = props.isNarrow ? props.columns.length - 1 : 0;
  return (
    <div
      role="gridcell"
      id={isAt ? `${props.idPrefix}-${props.index}-${at}` : undefined}
      aria-colindex={at + 1}
      data-column={at}
      className={`${isDataColumn(column) ? cellClass.target : cellClass[column]} ${isAt ? "outline-1 -outline-offset-1 outline-accent" : ""}`}
    >
      {at === signed && props.mark && <FindingSign mark={props.mark} />}
      <CellContent {...props} column={column} event={event} />
    </div>
  );
}

// As few elements as possible: each frame of a fast scroll draws hundreds of new cells.
const number = "truncate px-2 max-md:px-1 text-right font-mono text-xs/[25px] text-muted tabular-nums";
const cellClass: Record<Exclude<ColumnId, DataColumn>, string> = {
  seq: number,
  time: "truncate px-2 max-md:px-1 font-mono text-xs/[25px] tabular-nums",
  delta: number,
  type: "flex min-w-0 items-center gap-1.5 overflow-hidden px-2 max-md:px-1 whitespace-nowrap",
  process: "truncate px-2 max-md:px-1 leading-[25px]",
  pid: "truncate px-2 max-md:px-1 text-right font-mono text-xs/[25px] tabular-nums",
  operation: "truncate px-2 max-md:px-1 leading-[25px]",
  result: "truncate px-2 max-md:px-1 font-mono text-xs/[25px]",
  target: "truncate px-2 max-md:px-1 font-mono text-xs/[25px]",
  preview: "truncate px-2 max-md:px-1 font-mono text-xs/[25px] text-muted",
  source: "truncate px-2 max-md:px-1 leading-[25px]",
};
// A failure is told by a sign and a weight, too. The sign has no name: the text says it.
const resultClass: Record<Result["look"], string> = {
  failed: "font-semibold text-bad before:content-['✕_'/'']",
  warning: "font-medium text-warn before:content-['!_'/'']",
  plain: "",
  ok: "text-muted",
};
// A value is a bdi; the table's menu opens on it.
const valueClass = "cursor-pointer decoration-dotted underline-offset-2 hover:underline";

function CellContent({
  column,
  event,
  zone,
  isNarrow,
  previousTime,
}: Pick<Props, "zone" | "isNarrow" | "previousTime"> & { column: ColumnId; event: ListedEvent }) {
  switch (column) {
    case "seq":
      return event.seq;
    case "time":
      return <Time event={event} zone={zone} isNarrow={isNarrow} />;
    case "delta":
      return previousTime === undefined
        ? null
        : formatDuration(toMicros(event.timestamp) - toMicros(previousTime));
    case "type":
      return (
        <>
          <KindBadge type={event.event_type} />
          {isNarrow ? (
            <span className="sr-only">{typeLabel(plainText(event.event_type, 60))}</span>
          ) : (
            <SafeText
              text={shortTypeLabel(event.event_type)}
              limit={cellLimit}
              className={`min-w-0 truncate ${valueClass} ${kindOf(event.event_type).text}`}
            />
          )}
        </>
      );
    case "preview":
      return <SafeText text={event.preview} limit={cellLimit} />;
    case "result": {
      const result = resultOf(event);
      if (!result) return null;
      return (
        <SafeText
          text={result.text}
          limit={cellLimit}
          className={`${valueClass} ${resultClass[result.look]}`}
        />
      );
    }
    default: {
      const cell = isDataColumn(column) ? dataCell(event, column) : undefined;
      const text = cell === undefined ? cellText(event, column) : (cell?.text ?? null);
      if (text === null) return <span className="text-muted">–</span>;
      const value = <SafeText text={text} limit={cellLimit} className={valueClass} />;
      return cell?.isRounded ? <span title="Rounded. The details have all digits">≈ {value}</span> : value;
    }
  }
}

function Time({ event, zone, isNarrow }: { event: ListedEvent; zone: "utc" | "local"; isNarrow: boolean }) {
  const clock = formatClock(event.timestamp, zone);
  const text = isNarrow ? clock.slice(0, 8) : clock;
  if (event.timestamp_source === "agent") return text;
  return (
    <span className="text-warn" title="The agent sent no time; this is when the backend received the event">
      {text}
      <span className="sr-only"> (received)</span>
    </span>
  );
}
