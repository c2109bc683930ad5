import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { useShortcut } from "@/hooks/shortcuts";
import { useView } from "@/hooks/view";
import { addCondition } from "@/lib/filter";
import type { ColumnId } from "./columns";
import type { LongScroll } from "./long-scroll";
import type { EventTableProps } from "./props";
import { fieldValue } from "./value";

interface Options extends EventTableProps {
  scroll: LongScroll;
  put: (top: number | undefined) => void;
  ask: (index: number, column: ColumnId) => void;
}

// A held key moves faster than details load, and faster than browsers let the address change.
const openMillis = 90;

/** The current row and cell of the keyboard, and its handlers. */
export function useGridKeys(options: Options) {
  const { feed, state, columns, scroll, put, ask, follow, isFollowing, canFollow, openSeq, open } = options;
  const { view, change } = useView();
  const [at, setAt] = useState<{ index: number; shift: number; feed: unknown }>();
  const [column, setColumn] = useState<ColumnId>();
  const opening = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(opening.current), []);
  const index = at?.feed === feed && at ? at.index + state.shift - at.shift : undefined;
  const shownColumn = columns.some((other) => other.id === column) ? column : undefined;

  const set = (next: number, nextColumn?: ColumnId) => {
    setAt({ index: next, shift: state.shift, feed });
    if (nextColumn) setColumn(nextColumn);
  };
  const eventAt = (place: number | undefined) => {
    const row = place === undefined ? undefined : feed.row(place);
    return row && !("missing" in row) ? row : undefined;
  };

  // If something else opened the details, the keys continue from there.
  const openIndex = openSeq === undefined ? undefined : feed.indexOf(openSeq);
  const followed = useRef<number>(undefined);
  useEffect(() => {
    if (openSeq === followed.current || openIndex === undefined) return;
    followed.current = openSeq;
    setAt({ index: openIndex, shift: state.shift, feed });
  }, [openSeq, openIndex, feed, state.shift]);

  const go = (wanted: number) => {
    if (state.total === 0) return;
    const next = Math.max(0, Math.min(wanted, state.total - 1));
    if (isFollowing && next < state.total - 1) follow(false);
    set(next);
    put(scroll.reveal(next));
    if (openSeq === undefined) return;
    clearTimeout(opening.current);
    opening.current = setTimeout(() => {
      const event = eventAt(next);
      if (!event) return;
      followed.current = event.seq;
      open(event.seq);
    }, openMillis);
  };
  const goBy = (by: number) => go(index === undefined ? scroll.range().from : index + by);
  const goAcross = (by: number) => {
    const place = columns.findIndex((other) => other.id === shownColumn);
    const next = columns[Math.max(0, Math.min(place + by, columns.length - 1))];
    if (index === undefined) go(scroll.range().from);
    setColumn(next?.id);
  };
  const filterBy = (isNot: boolean) => {
    const event = eventAt(index);
    const value = event && shownColumn && fieldValue(event, shownColumn);
    if (value) change({ filter: addCondition(view.filter, value.conditionOf(isNot)) });
  };
  const askHere = () => index !== undefined && ask(index, shownColumn ?? columns[0]?.id ?? "seq");
  // A row that is not loaded yet opens when it is.
  const waiting = useRef<number>(undefined);
  const openHere = () => {
    const event = eventAt(index);
    if (event) open(event.seq);
    else waiting.current = index;
  };
  useEffect(() => {
    if (waiting.current === undefined) return;
    const event = waiting.current === index ? eventAt(index) : undefined;
    if (event || waiting.current !== index) waiting.current = undefined;
    if (event) open(event.seq);
  });

  useShortcut("j", "Next event", "Events", () => goBy(1));
  useShortcut("k", "Previous event", "Events", () => goBy(-1));
  useShortcut("o", "Show details", "Events", openHere);
  useShortcut("m", "Menu of the cell", "Events", askHere);
  useShortcut("+", "Include the value of the cell", "Events", () => filterBy(false));
  useShortcut("-", "Exclude the value of the cell", "Events", () => filterBy(true));
  useShortcut("f", "Follow the newest", "Events", () => canFollow && follow(!isFollowing));

  /** Handles a key of the grid; false if the key does nothing. */
  const press = (key: string, isShift: boolean): boolean => {
    const page = Math.max(1, scroll.pageRows - 1);
    const moves: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    const by = moves[key];
    if (by !== undefined) goBy(by);
    else if (key === "ArrowRight" || key === "ArrowLeft") goAcross(key === "ArrowRight" ? 1 : -1);
    else if (key === "Home") go(0);
    else if (key === "End") {
      go(state.total - 1);
      if (canFollow) follow(true);
    } else if (key === "Enter") openHere();
    else if (key === "ContextMenu" || (key === "F10" && isShift)) askHere();
    else return false;
    return true;
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget || event.altKey || event.metaKey) return;
    if (!press(event.key, event.shiftKey)) return;
    event.preventDefault();
  };
  return { index, column: shownColumn, set, onKeyDown };
}
