import { useRef, useState } from "react";
import { SafeText } from "@/components/safe-text";
import { MenuItem } from "@/components/ui/menu";
import { type Point, PointMenu } from "@/components/ui/point-menu";
import { plainText } from "@/lib/text";
import {
  type Column,
  type ColumnId,
  clampWidth,
  columnInfo,
  gridTemplate,
  isDataColumn,
  maxWidth,
  minWidth,
  moveBefore,
  moveBy,
  setColumn,
} from "./columns";
import type { ColumnState } from "./columns-provider";

const dragType = "application/x-ospulse-column";

interface Props {
  columns: readonly Column[];
  state: ColumnState;
  /** Whether columns cannot be changed, as on narrow screens. */
  isFixed: boolean;
  /** Shows widths while a handle is dragged, before they are stored. */
  preview: (template: string) => void;
}

/** The column headers: drag to reorder, drag the edge to resize, click for a menu. */
export function HeaderRow({ columns, state, isFixed, preview }: Props) {
  const [over, setOver] = useState<ColumnId>();
  const [asked, setAsked] = useState<{ id: ColumnId; point: Point }>();
  const asker = useRef<HTMLButtonElement>(null);
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
            <span className={column.id === "type" ? "sr-only" : "truncate px-2 max-md:px-1"}>
              {columnInfo(column.id).label}
            </span>
          ) : (
            <>
              <ColumnName
                column={column}
                ask={(button) => {
                  const { left: x, bottom: y } = button.getBoundingClientRect();
                  asker.current = button;
                  setAsked({ id: column.id, point: { x, y } });
                }}
              />
              <ResizeHandle column={column} columns={columns} state={state} preview={preview} />
            </>
          )}
        </div>
      ))}
      <PointMenu at={asked?.point} label="Column" onClose={() => setAsked(undefined)} focusAfter={asker}>
        {asked && <ColumnItems id={asked.id} state={state} />}
      </PointMenu>
    </div>
  );
}

interface NameProps {
  column: Column;
  ask: (button: HTMLButtonElement) => void;
}

/** The name of a column. Its menu opens on click, not on press, because the name can be dragged. */
function ColumnName({ column, ask }: NameProps) {
  const { label, hint, align } = columnInfo(column.id);
  return (
    <button
      type="button"
      draggable
      title={plainText(hint, 300)}
      aria-haspopup="menu"
      onClick={(event) => ask(event.currentTarget)}
      onDragStart={(event) => {
        event.dataTransfer.setData(dragType, column.id);
        event.dataTransfer.effectAllowed = "move";
      }}
      className={`h-full min-w-0 flex-1 truncate px-2 hover:text-ink ${align === "right" ? "text-right" : "text-left"}`}
    >
      <SafeText text={label} limit={100} />
    </button>
  );
}

function ColumnItems({ id, state }: { id: ColumnId; state: ColumnState }) {
  const at = state.shown.findIndex((other) => other.id === id);
  const set = (change: Partial<Column>) => state.change((all) => setColumn(all, id, change));
  return (
    <>
      <MenuItem disabled={at === 0} onSelect={() => state.change((all) => moveBy(all, id, -1))}>
        Move left
      </MenuItem>
      <MenuItem
        disabled={at === state.shown.length - 1}
        onSelect={() => state.change((all) => moveBy(all, id, 1))}
      >
        Move right
      </MenuItem>
      <MenuItem onSelect={() => set({ width: columnInfo(id).width })}>Usual width</MenuItem>
      <MenuItem disabled={state.shown.length === 1} onSelect={() => set({ isShown: false })}>
        {isDataColumn(id) ? "Remove" : "Hide"}
      </MenuItem>
    </>
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
      aria-label={`Width of ${plainText(columnInfo(column.id).label, 100)}`}
      aria-valuenow={column.width}
      aria-valuemin={minWidth}
      aria-valuemax={maxWidth}
      className="absolute inset-y-0 right-0 z-10 w-2 cursor-col-resize touch-none border-r border-line hover:border-accent"
      // Otherwise the browser drags the selected text of the page.
      onMouseDown={(event) => event.preventDefault()}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        const cell = event.currentTarget.parentElement;
        drag.current = { x: event.clientX, width: cell?.offsetWidth ?? column.width };
      }}
      onPointerMove={(event) => {
        if (drag.current)
          preview(gridTemplate(setColumn(columns, column.id, { width: widthAt(event.clientX) })));
      }}
      onPointerCancel={() => {
        drag.current = undefined;
        preview(gridTemplate(columns));
      }}
      onPointerUp={(event) => {
        if (drag.current) keep(widthAt(event.clientX));
        drag.current = undefined;
      }}
      onDoubleClick={() => keep(columnInfo(column.id).width)}
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
