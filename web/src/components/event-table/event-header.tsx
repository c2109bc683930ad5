import { memo, useMemo, useRef, useState } from "react";
import { SafeText } from "@/components/safe-text";
import { HeaderRow } from "@/components/table/header-row";
import { useColumnTable } from "@/components/table/use-columns";
import { MenuItem } from "@/components/ui/menu";
import { type Point, PointMenu } from "@/components/ui/point-menu";
import { plainText } from "@/lib/text";
import {
  type Column,
  type ColumnId,
  columnInfo,
  isDataColumn,
  moveBefore,
  moveBy,
  setColumn,
  setWidths,
  widthsOf,
} from "./columns";
import type { ColumnState } from "./columns-provider";

const dragType = "application/x-ospulse-column";

/** The widths of the columns on screen, and their changes. */
export function useEventColumns({ shown, change }: ColumnState) {
  return useColumnTable(
    useMemo(() => shown.map(({ id }) => columnInfo(id)), [shown]),
    {
      widths: useMemo(() => widthsOf(shown), [shown]),
      setWidths: (next) => change((all) => setWidths(all, next)),
    },
  );
}

interface HeaderProps {
  columns: ReturnType<typeof useEventColumns>;
  state: ColumnState;
  isNarrow: boolean;
}

/** The headers of the columns of events. On phones they are fixed. */
export const EventHeader = memo(function EventHeader({ columns, state, isNarrow }: HeaderProps) {
  return (
    <HeaderRow
      columns={columns}
      className="h-7 bg-surface text-xs"
      name={({ id, label }) =>
        isNarrow ? (
          // The column of badges is too narrow for its name.
          <span className={id === "type" ? "sr-only" : "truncate px-1"}>{label}</span>
        ) : (
          <ColumnName id={id as ColumnId} state={state} />
        )
      }
    />
  );
});

interface Props {
  id: ColumnId;
  state: ColumnState;
}

/** The name of a column: drag it to move the column, click it for a menu. */
function ColumnName({ id, state }: Props) {
  const { label, hint, align } = columnInfo(id);
  const [isOver, setOver] = useState(false);
  const [menu, setMenu] = useState<Point>();
  const button = useRef<HTMLButtonElement>(null);
  return (
    <>
      <button
        ref={button}
        type="button"
        draggable
        title={plainText(hint, 300)}
        aria-haspopup="menu"
        // On click, not on press, because the name can be dragged.
        onClick={(event) => {
          const { left: x, bottom: y } = event.currentTarget.getBoundingClientRect();
          setMenu({ x, y });
        }}
        onDragStart={(event) => {
          event.dataTransfer.setData(dragType, id);
          event.dataTransfer.effectAllowed = "move";
        }}
        onDragOver={(event) => {
          if (!event.dataTransfer.types.includes(dragType)) return;
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          const moved = event.dataTransfer.getData(dragType) as ColumnId;
          state.change((all) => moveBefore(all, moved, id));
        }}
        className={`h-full min-w-0 flex-1 truncate px-2 hover:text-ink ${align === "right" ? "text-right" : "text-left"} ${isOver ? "bg-selected" : ""}`}
      >
        <SafeText text={label} limit={100} />
      </button>
      <PointMenu at={menu} label="Column" onClose={() => setMenu(undefined)} focusAfter={button}>
        <ColumnItems id={id} state={state} />
      </PointMenu>
    </>
  );
}

function ColumnItems({ id, state }: Props) {
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
