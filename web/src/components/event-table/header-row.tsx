import { useRef, useState } from "react";
import { Menu, MenuItem } from "@/components/ui/menu";
import {
  type Column,
  type ColumnId,
  type ColumnState,
  clampWidth,
  columnInfo,
  gridTemplate,
  maxWidth,
  minWidth,
  moveBefore,
  moveBy,
} from "./columns";

const dragType = "application/x-ospulse-column";

interface Props {
  columns: readonly Column[];
  state: ColumnState;
  /** Whether columns can be changed; on narrow screens they are given. */
  isFixed: boolean;
  /** Shows widths while a handle is dragged, before they are kept. */
  preview: (template: string) => void;
}

/** The names of the columns: drag to order, drag the edge to size, click for a menu of both. */
export function HeaderRow({ columns, state, isFixed, preview }: Props) {
  const [over, setOver] = useState<ColumnId>();
  return (
    <div
      role="row"
      aria-rowindex={1}
      className="sticky top-0 z-10 grid h-7 border-b border-line bg-surface text-xs text-muted"
      style={{ gridTemplateColumns: "var(--columns)" }}
    >
      {columns.map((column, at) => (
        <div
          key={column.id}
          role="columnheader"
          aria-colindex={at + 1}
          className={`relative flex min-w-0 items-center ${over === column.id ? "bg-selected" : ""}`}
          onDragOver={(event) => {
            if (isFixed || !event.dataTransfer.types.includes(dragType)) return;
            event.preventDefault();
            setOver(column.id);
          }}
          onDragLeave={() => setOver(undefined)}
          onDrop={(event) => {
            event.preventDefault();
            setOver(undefined);
            const id = event.dataTransfer.getData(dragType) as ColumnId;
            state.change((all) => moveBefore(all, id, column.id));
          }}
        >
          {isFixed ? (
            <span className={column.id === "type" ? "sr-only" : "truncate px-2"}>
              {columnInfo[column.id].label}
            </span>
          ) : (
            <>
              <ColumnMenu column={column} state={state} />
              <ResizeHandle column={column} columns={columns} state={state} preview={preview} />
            </>
          )}
        </div>
      ))}
    </div>
  );
}

function ColumnMenu({ column, state }: { column: Column; state: ColumnState }) {
  const { label, hint, align } = columnInfo[column.id];
  const at = state.shown.findIndex((other) => other.id === column.id);
  return (
    <Menu
      align="start"
      trigger={
        <button
          type="button"
          draggable
          title={hint}
          onDragStart={(event) => {
            event.dataTransfer.setData(dragType, column.id);
            event.dataTransfer.effectAllowed = "move";
          }}
          className={`h-full min-w-0 flex-1 truncate px-2 hover:text-ink ${align === "right" ? "text-right" : "text-left"}`}
        >
          {label}
        </button>
      }
    >
      <MenuItem disabled={at === 0} onSelect={() => state.change((all) => moveBy(all, column.id, -1))}>
        Move left
      </MenuItem>
      <MenuItem
        disabled={at === state.shown.length - 1}
        onSelect={() => state.change((all) => moveBy(all, column.id, 1))}
      >
        Move right
      </MenuItem>
      <MenuItem
        onSelect={() =>
          state.change((all) => setColumn(all, column.id, { width: columnInfo[column.id].width }))
        }
      >
        Usual width
      </MenuItem>
      <MenuItem
        disabled={state.shown.length === 1}
        onSelect={() => state.change((all) => setColumn(all, column.id, { isShown: false }))}
      >
        Hide
      </MenuItem>
    </Menu>
  );
}

function ResizeHandle({ column, columns, state, preview }: { column: Column } & Omit<Props, "isFixed">) {
  const drag = useRef<{ x: number; width: number }>(undefined);
  const keep = (width: number) =>
    state.change((all) => setColumn(all, column.id, { width: clampWidth(width) }));
  const widthAt = (x: number) =>
    clampWidth((drag.current?.width ?? column.width) + x - (drag.current?.x ?? x));
  return (
    <div
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={`Width of ${columnInfo[column.id].label}`}
      aria-valuenow={column.width}
      aria-valuemin={minWidth}
      aria-valuemax={maxWidth}
      className="absolute inset-y-0 right-0 z-10 w-2 cursor-col-resize touch-none border-r border-line hover:border-accent"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        const cell = event.currentTarget.parentElement;
        drag.current = { x: event.clientX, width: cell?.offsetWidth ?? column.width };
      }}
      onPointerMove={(event) => {
        if (drag.current)
          preview(gridTemplate(setColumn(columns, column.id, { width: widthAt(event.clientX) })));
      }}
      onPointerUp={(event) => {
        if (drag.current) keep(widthAt(event.clientX));
        drag.current = undefined;
      }}
      onDoubleClick={() => keep(columnInfo[column.id].width)}
      onKeyDown={(event) => {
        const by = { ArrowLeft: -8, ArrowRight: 8 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        keep(column.width + by);
      }}
    />
  );
}

export function setColumn(
  columns: readonly Column[],
  id: ColumnId,
  change: Partial<Column>,
): readonly Column[] {
  return columns.map((column) => (column.id === id ? { ...column, ...change } : column));
}
