import { ArrowDownToLine, Columns3 } from "lucide-react";
import { useState } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Menu, MenuCheck, MenuItem, MenuLine } from "@/components/ui/menu";
import { plural } from "@/lib/number";
import { AddColumn } from "./add-column";
import { columnInfo, setColumn } from "./columns";
import type { ColumnState } from "./columns-provider";

interface Props {
  /** The selected events; undefined while they are counted. */
  count: number | undefined;
  isFiltered: boolean;
  /** Whether the rows still belong to the previous filter. */
  isStale: boolean;
  /** Undefined if the session is not live. */
  isFollowing: boolean | undefined;
  onFollow: () => void;
  columns: ColumnState | undefined;
}

/** The bar below the table: the count of events, the follow switch, and the choice of columns. */
export function TableBar({ count, isFiltered, isStale, isFollowing, onFollow, columns }: Props) {
  return (
    <div className="flex h-8 shrink-0 items-center gap-2 border-t border-line bg-surface px-2 text-xs text-muted">
      <p aria-live="off" className="min-w-0 flex-1 truncate tabular-nums">
        {isStale || count === undefined
          ? "Counting…"
          : `${plural(count, "event")}${isFiltered ? " selected" : ""}`}
      </p>
      {isFollowing !== undefined && (
        <Button
          look="ghost"
          size="small"
          aria-pressed={isFollowing}
          onClick={onFollow}
          title="Stay at the newest event (f)"
          className={isFollowing ? "bg-selected! text-accent!" : ""}
        >
          <ArrowDownToLine size={14} aria-hidden />
          {isFollowing ? "Following" : "Follow"}
        </Button>
      )}
      {columns && <ColumnsMenu columns={columns} />}
    </div>
  );
}

function ColumnsMenu({ columns }: { columns: ColumnState }) {
  const [isAdding, setAdding] = useState(false);
  return (
    <>
      <Menu
        trigger={
          <Button look="ghost" size="small">
            <Columns3 size={14} aria-hidden />
            Columns
          </Button>
        }
      >
        {columns.all.map(({ id, isShown }) => {
          const { label, hint } = columnInfo(id);
          return (
            <MenuCheck
              key={id}
              checked={isShown}
              onChange={(checked) => columns.change((all) => setColumn(all, id, { isShown: checked }))}
            >
              <SafeText text={label} limit={60} className="shrink-0" />
              <SafeText text={hint} limit={100} className="truncate text-muted" />
            </MenuCheck>
          );
        })}
        <MenuLine />
        <MenuItem onSelect={() => setAdding(true)}>Add a field of the data…</MenuItem>
        <MenuItem onSelect={columns.reset}>Reset the columns</MenuItem>
      </Menu>
      <AddColumn open={isAdding} onClose={() => setAdding(false)} columns={columns} />
    </>
  );
}
