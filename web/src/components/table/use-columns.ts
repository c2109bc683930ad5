import {
  type ColumnSizingState,
  columnResizingFeature,
  columnSizingFeature,
  functionalUpdate,
  metaHelper,
  rowSortingFeature,
  tableFeatures,
  useTable,
} from "@tanstack/react-table";
import { useMemo, useState } from "react";
import { useIsNarrow } from "@/hooks/media";
import { readStored, writeStored } from "@/hooks/stored";

/** A column of a table, and its header. */
export interface ColumnSpec {
  id: string;
  label: string;
  /** Explains the label. */
  hint?: string;
  /** The usual width in pixels, or the least usual one if the column grows. */
  width: number;
  /** How far the column grows, as a size of a grid: "1fr". */
  grow?: string;
  /** Its width on phones; 0 for the rest of the page. Without it, phones do not show the column. */
  phone?: number;
  align?: "right";
  /** The label is for screen readers only, and the width is fixed. */
  isBare?: boolean;
  /** The direction in which the list can be sorted by the column. */
  sort?: "ascending" | "descending";
}

const features = tableFeatures({
  columnSizingFeature,
  columnResizingFeature,
  rowSortingFeature,
  columnMeta: metaHelper<ColumnSpec>(),
});
const noRows: never[] = [];
export const minWidth = 36;
export const maxWidth = 1600;

/** The widths that the reader chose, by column. */
export type Widths = ColumnSizingState;

interface Options {
  widths: Widths;
  setWidths: (change: (now: Widths) => Widths) => void;
  /** The column by which the list is sorted. */
  sort?: string;
  onSort?: (id: string) => void;
}

/**
 * The columns of a table, with their widths and the order of its rows. The library does not
 * get the rows: only those in sight are drawn, and the backend sorts. On phones the columns
 * are fixed.
 */
export function useColumnTable<S extends ColumnSpec>(specs: readonly S[], options: Options) {
  const { widths, setWidths, sort, onSort } = options;
  const isNarrow = useIsNarrow();
  const columns = useMemo(
    () =>
      specs
        .filter(({ phone }) => !isNarrow || phone !== undefined)
        .map((spec) => ({
          id: spec.id,
          header: spec.label,
          size: spec.width,
          minSize: minWidth,
          maxSize: maxWidth,
          accessorFn: () => undefined, // the library sorts by no other column
          enableSorting: spec.sort !== undefined,
          enableResizing: !spec.isBare,
          sortDescFirst: spec.sort === "descending",
          meta: spec,
        })),
    [specs, isNarrow],
  );
  const table = useTable({
    features,
    columns,
    data: noRows,
    state: {
      columnSizing: widths,
      sorting: specs
        .filter(({ id }) => id === sort)
        .map(({ id, sort: by }) => ({ id, desc: by === "descending" })),
    },
    onColumnSizingChange: (change) => setWidths((now) => functionalUpdate(change, now)),
    columnResizeMode: "onEnd",
    enableColumnResizing: !isNarrow,
    manualSorting: true,
    enableMultiSort: false,
    onSortingChange: (change) => {
      const [first] = functionalUpdate(change, []);
      if (first) onSort?.(first.id);
    },
  });
  const { isResizingColumn, startSize, deltaOffset } = table.state.columnResizing;
  const sizes = table.getAllLeafColumns().map((column) => {
    const { id, phone, grow, width } = column.columnDef.meta as S;
    if (isNarrow) return phone === 0 ? "minmax(0, 1fr)" : `${phone}px`;
    if (id === isResizingColumn) return `${Math.max(minWidth, (startSize ?? 0) + (deltaOffset ?? 0))}px`;
    return grow && widths[id] === undefined ? `minmax(${width}px, ${grow})` : `${column.getSize()}px`;
  });
  // If no column grows, the last one takes the rest.
  const last = sizes.at(-1);
  if (last && !sizes.some((size) => size.includes("fr"))) sizes[sizes.length - 1] = `minmax(${last}, 1fr)`;
  return {
    headers: table.getFlatHeaders(),
    shown: columns.map(({ meta }) => meta),
    /** The sizes of the columns, as grid-template-columns. */
    template: sizes.join(" "),
    /** The least width of the table. A narrower page scrolls it. */
    width: isNarrow ? columns.reduce((sum, { meta }) => sum + (meta.phone ?? 0), 0) : table.getTotalSize(),
    table,
  };
}

/** The widths of a table's columns, kept in this browser. */
export function useStoredWidths(name: string): [Widths, Options["setWidths"]] {
  const key = `ospulse.columns.${name}`;
  const [widths, setWidths] = useState<Widths>(() =>
    Object.fromEntries(
      Object.entries(readStored<object>(key) ?? {}).filter(([, width]) => typeof width === "number"),
    ),
  );
  const change: Options["setWidths"] = (next) =>
    setWidths((now) => {
      const then = next(now);
      writeStored(key, then);
      return then;
    });
  return [widths, change];
}
