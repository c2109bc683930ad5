import { useVirtualizer } from "@tanstack/react-virtual";
import { type ComponentProps, type ReactNode, useEffect, useRef } from "react";
import { HeaderRow } from "./header-row";
import { type ColumnSpec, useColumnTable, useStoredWidths } from "./use-columns";

/** A column of a list, with its cells. */
export interface TableColumn<T> extends ColumnSpec {
  cell: (row: T) => ReactNode;
  /** The classes of its cells. */
  look?: string;
}

const headerHeight = 32;

/** The rows of a table that are in sight, of any number of rows of equal height. */
export function useVisibleRows(count: number, rowHeight: number, onEnd?: () => void) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    scrollMargin: headerHeight,
    scrollPaddingStart: headerHeight, // the header stays above the rows
    initialRect: { width: 800, height: 600 },
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= count - 50) onEnd?.();
  }, [last, count, onEnd]);
  return { scroller, virtual, items, rowHeight };
}

interface Props<T> {
  /** The name for screen readers. */
  label: string;
  /** The name under which the browser keeps the widths of the columns. */
  name: string;
  role: "grid" | "table" | "treegrid";
  columns: readonly TableColumn<T>[];
  count: number;
  /** A row; undefined while it is loaded. */
  rowAt: (index: number) => T | undefined;
  keyAt: (index: number) => string | number;
  visible: ReturnType<typeof useVisibleRows>;
  /** The attributes of a row. A row that is selected has another color. */
  rowProps: (index: number, row: T | undefined) => ComponentProps<"div">;
  sort?: string;
  onSort?: (id: string) => void;
  /** Whether the rows are about to be replaced. */
  isStale?: boolean;
  className?: string;
  /** The classes for the space at both sides of the rows. */
  inset?: string;
}

/** A table that draws only the rows in sight. The reader can change the widths of its columns. */
export function Table<T>(props: Props<T>) {
  const { role, count, rowAt, keyAt, visible, rowProps, sort, onSort, inset = "px-1.5" } = props;
  const [widths, setWidths] = useStoredWidths(props.name);
  const columns = useColumnTable(props.columns, { widths, setWidths, sort, onSort });
  const cellRole = role === "table" ? "cell" : "gridcell";
  return (
    <div
      ref={visible.scroller}
      className={`min-h-0 min-w-0 flex-1 overflow-auto ${props.isStale ? "opacity-60" : ""} ${props.className ?? ""}`}
      aria-busy={props.isStale}
    >
      {/* biome-ignore lint/a11y/useAriaPropsSupportedByRole: every role of the type supports them */}
      <div
        role={role}
        aria-label={props.label}
        aria-rowcount={count + 1}
        style={{ "--columns": columns.template, minWidth: columns.width } as React.CSSProperties}
      >
        <HeaderRow
          columns={columns}
          className={`h-8 bg-page text-2xs font-semibold tracking-wide uppercase ${inset}`}
        />
        <div role="rowgroup" className="relative" style={{ height: visible.virtual.getTotalSize() }}>
          {visible.items.map(({ index, start }) => {
            const row = rowAt(index);
            const { className = "", ...rest } = rowProps(index, row);
            return (
              <div
                key={keyAt(index)}
                role="row"
                data-index={index}
                aria-rowindex={index + 2}
                {...rest}
                style={{
                  transform: `translateY(${start - headerHeight}px)`,
                  height: visible.rowHeight,
                  gridTemplateColumns: "var(--columns)",
                }}
                className={`absolute inset-x-0 grid items-center border-b border-line -outline-offset-2 ${inset} ${className}`}
              >
                {row === undefined ? (
                  <span role={cellRole} className="px-1.5 text-muted">
                    …
                  </span>
                ) : (
                  columns.shown.map(({ id, align, look = "", cell }) => (
                    <span
                      key={id}
                      role={cellRole}
                      className={`truncate px-1.5 ${align === "right" ? "text-right tabular-nums" : ""} ${look}`}
                    >
                      {cell(row)}
                    </span>
                  ))
                )}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
