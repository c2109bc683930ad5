import { ArrowDown, ArrowUp } from "lucide-react";
import { type MouseEvent, type ReactNode, type TouchEvent, useState } from "react";
import { plainText } from "@/lib/text";
import { type ColumnSpec, maxWidth, minWidth, type useColumnTable } from "./use-columns";

type ColumnTable = ReturnType<typeof useColumnTable>;
type Header = ColumnTable["headers"][number];

interface Props {
  columns: ColumnTable;
  className: string;
  /** Draws the name of a column, unless it is a text or a button that sorts. */
  name?: (column: ColumnSpec) => ReactNode;
}

/** The headers of a table's columns. They sort the list, and change the widths of the columns. */
export function HeaderRow({ columns, className, name }: Props) {
  return (
    <div
      role="row"
      aria-rowindex={1}
      className={`sticky top-0 z-10 grid border-b border-line text-muted ${className}`}
      style={{ gridTemplateColumns: "var(--columns)" }}
    >
      {columns.headers.map((header, at) => {
        const { column } = header;
        const spec = column.columnDef.meta as ColumnSpec;
        const sorted = column.getIsSorted();
        return (
          <div
            key={column.id}
            role="columnheader"
            aria-colindex={at + 1}
            aria-label={plainText(spec.label, 100)}
            aria-sort={
              !spec.sort ? undefined : !sorted ? "none" : sorted === "desc" ? "descending" : "ascending"
            }
            className="relative flex min-w-0 items-center"
          >
            {name ? name(spec) : <Name header={header} spec={spec} />}
            {column.getCanResize() && <ResizeHandle header={header} table={columns.table} />}
          </div>
        );
      })}
    </div>
  );
}

function Name({ header: { column }, spec }: { header: Header; spec: ColumnSpec }) {
  const sorted = column.getIsSorted();
  const Icon = sorted === "desc" ? ArrowDown : ArrowUp;
  const className = `flex-1 px-1.5 ${spec.align === "right" ? "justify-end text-right" : "text-left"}`;
  if (spec.isBare) return <span className="sr-only">{spec.label}</span>;
  if (!spec.sort) return <span className={`truncate ${className}`}>{spec.label}</span>;
  return (
    <button
      type="button"
      onClick={column.getToggleSortingHandler()}
      className={`flex min-w-0 items-center gap-0.5 rounded uppercase hover:text-ink ${className} ${sorted ? "text-ink" : ""}`}
    >
      <span className="truncate">{spec.label}</span>
      {sorted && <Icon size={11} className="shrink-0" aria-hidden />}
    </button>
  );
}

function ResizeHandle({ header, table }: { header: Header; table: ColumnTable["table"] }) {
  const { column } = header;
  // A column that grows has another width on screen.
  const [onScreen, setOnScreen] = useState<number>();
  const width = table.state.columnSizing[column.id] === undefined ? onScreen : undefined;
  const widthOf = (handle: HTMLElement) => handle.parentElement?.offsetWidth || column.getSize();
  const start = (event: MouseEvent<HTMLElement> | TouchEvent<HTMLElement>) => {
    const startSize = widthOf(event.currentTarget);
    header.getResizeHandler()(event.nativeEvent);
    table.setColumnResizing((now) => ({ ...now, startSize, columnSizingStart: [[column.id, startSize]] }));
  };
  return (
    <div
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={`Width of ${plainText(column.columnDef.meta?.label ?? "", 100)}`}
      aria-valuenow={width ?? column.getSize()}
      aria-valuemin={minWidth}
      aria-valuemax={maxWidth}
      className="absolute inset-y-0 right-0 z-10 w-2 cursor-col-resize touch-none border-r border-line hover:border-accent"
      onMouseDown={(event) => {
        event.preventDefault(); // otherwise the browser drags the selected text of the page
        start(event);
      }}
      onTouchStart={start}
      onFocus={(event) => setOnScreen(widthOf(event.currentTarget))}
      onDoubleClick={() => column.resetSize()}
      onKeyDown={(event) => {
        const by = { ArrowLeft: -8, ArrowRight: 8 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        const next = widthOf(event.currentTarget) + by;
        table.setColumnSizing((now) => ({ ...now, [column.id]: next }));
      }}
    />
  );
}
