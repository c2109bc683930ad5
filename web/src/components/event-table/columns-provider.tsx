import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { useIsNarrow } from "@/hooks/media";
import { readStored, writeStored } from "@/hooks/stored";
import { type Column, defaultColumns, fieldsOf, narrowColumns, readColumns } from "./columns";

const storeName = "ospulse.events.columns";

export interface ColumnState {
  all: readonly Column[];
  /** The columns on screen. On a phone they are fixed. */
  shown: readonly Column[];
  /** The fields of the data that the columns on screen need. */
  fields: string;
  change: (next: (columns: readonly Column[]) => readonly Column[]) => void;
  reset: () => void;
}

const Context = createContext<ColumnState | undefined>(undefined);

/** The columns of the table of events. */
export function useColumns(): ColumnState {
  const state = useContext(Context);
  if (!state) throw new Error("useColumns must be called within a ColumnsProvider");
  return state;
}

/** Keeps the reader's columns in this browser, for the table, the stream and the details of an event. */
export function ColumnsProvider({ children }: { children: ReactNode }) {
  const isNarrow = useIsNarrow();
  const [all, setAll] = useState(() => readColumns(readStored(storeName)));
  const change = useCallback<ColumnState["change"]>((next) => {
    setAll((now) => {
      const columns = next(now);
      const kept = columns.some((column) => column.isShown) ? columns : now;
      writeStored(storeName, kept);
      return kept;
    });
  }, []);
  const state = useMemo(() => {
    const shown = isNarrow ? narrowColumns : all.filter((column) => column.isShown);
    return { all, shown, fields: fieldsOf(shown), change, reset: () => change(() => defaultColumns) };
  }, [all, change, isNarrow]);
  return <Context value={state}>{children}</Context>;
}
