import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type MouseEvent, useId, useMemo, useRef, useState } from "react";
import { copyText } from "@/components/copy-button";
import { MenuItem } from "@/components/ui/menu";
import { type Point, PointMenu } from "@/components/ui/point-menu";
import { useNotify } from "@/components/ui/toast";
import { useView } from "@/hooks/view";
import { addCondition, dataPath } from "@/lib/filter";
import { type JsonValue, jsonPlain } from "@/lib/json";
import { isContainer, jsonCondition, listStep, stepsOf, TreeReader, type TreeRow } from "./rows";
import { JsonTreeRow, treeRowHeight } from "./tree-row";

interface Props {
  /** The text of the event, and the place of its data in it. */
  text: string;
  data: JsonValue;
}

/** The data of an event as a tree. It reads only open nodes and draws only rows in sight. */
export function JsonTree({ text, data }: Props) {
  const reader = useMemo(() => new TreeReader(text, data), [text, data]);
  const [state, setState] = useState(() => ({ reader, open: reader.firstOpen() }));
  if (state.reader !== reader) setState({ reader, open: reader.firstOpen() });
  const { open } = state;
  const rows = useMemo(() => reader.rows(open), [reader, open]);
  const [at, setAt] = useState(0);
  const [asked, setAsked] = useState<{ row: TreeRow; point: Point }>();
  const scroller = useRef<HTMLDivElement>(null);
  const id = useId();
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => treeRowHeight,
    overscan: 12,
  });
  const current = Math.min(at, rows.length - 1);

  const toggle = (row: TreeRow, isOpen = !row.isOpen) => {
    const next = new Map(open);
    if (row.isMore) next.set(row.value.from, (open.get(row.value.from) ?? 0) + 10 * listStep);
    else if (isOpen) next.set(row.value.from, listStep);
    else next.delete(row.value.from);
    setState({ reader, open: next });
  };
  const go = (index: number) => {
    const next = Math.max(0, Math.min(index, rows.length - 1));
    setAt(next);
    virtual.scrollToIndex(next, { align: "auto" });
  };
  const press = (row: TreeRow, key: string): boolean => {
    if (key === "ArrowDown") go(current + 1);
    else if (key === "ArrowUp") go(current - 1);
    else if (key === "Home") go(0);
    else if (key === "End") go(rows.length - 1);
    else if (key === "ArrowRight" && isContainer(row.value)) row.isOpen ? go(current + 1) : toggle(row, true);
    else if (key === "ArrowLeft")
      row.isOpen ? toggle(row, false) : go(row.parent ? rows.indexOf(row.parent) : 0);
    else if (key === " " || (key === "Enter" && (row.isMore || isContainer(row.value)))) toggle(row);
    else if (key === "Enter" || key === "ContextMenu") {
      const box = document.getElementById(`${id}-${current}`)?.getBoundingClientRect();
      setAsked({ row, point: { x: (box?.left ?? 0) + 40, y: box?.bottom ?? 0 } });
    } else return false;
    return true;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const row = rows[current];
    if (row && !event.ctrlKey && !event.metaKey && press(row, event.key)) event.preventDefault();
  };
  const click = (event: MouseEvent, isContext: boolean) => {
    const target = event.target as HTMLElement;
    const index = Number(target.closest<HTMLElement>("[data-index]")?.dataset.index ?? Number.NaN);
    const row = rows[index];
    if (!row) return;
    setAt(index);
    if (!row.isMore && (isContext || target.closest("[data-value]"))) {
      event.preventDefault();
      setAsked({ row, point: { x: event.clientX, y: event.clientY } });
    } else if (!isContext && (row.isMore || isContainer(row.value))) toggle(row);
  };

  return (
    <>
      <div
        ref={scroller}
        role="tree"
        aria-label="Data"
        tabIndex={0}
        aria-activedescendant={`${id}-${current}`}
        onKeyDown={onKeyDown}
        onClick={(event) => click(event, false)}
        onContextMenu={(event) => click(event, true)}
        className="min-h-0 flex-1 overflow-auto py-1 font-mono text-xs -outline-offset-2"
      >
        <div role="presentation" className="relative min-w-max" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start }) => {
            const row = rows[index];
            if (!row) return null;
            return (
              <JsonTreeRow
                key={`${row.value.from}${row.isMore ? "+" : ""}`}
                id={`${id}-${index}`}
                text={text}
                row={row}
                index={index}
                top={start}
                isCurrent={index === current}
              />
            );
          })}
        </div>
      </div>
      <PointMenu at={asked?.point} label="Value" onClose={() => setAsked(undefined)} focusAfter={scroller}>
        {asked && <RowMenu text={text} row={asked.row} />}
      </PointMenu>
    </>
  );
}

function RowMenu({ text, row }: { text: string; row: TreeRow }) {
  const { view, change } = useView();
  const notify = useNotify();
  const steps = stepsOf(row);
  const copy = (what: string) => void copyText(what).then(() => notify("Copied"));
  const filter = (isNot: boolean) =>
    change({ filter: addCondition(view.filter, jsonCondition(text, steps, row.value, isNot)) });
  const isList = isContainer(row.value);
  return (
    <>
      <MenuItem onSelect={() => copy(jsonPlain(text, row.value))}>Copy the value</MenuItem>
      {steps.length > 0 && (
        <>
          <MenuItem onSelect={() => copy(dataPath(steps))}>Copy the path</MenuItem>
          <MenuItem onSelect={() => filter(false)}>
            {isList ? "Include events that have it" : "Include this value"}
          </MenuItem>
          <MenuItem onSelect={() => filter(true)}>
            {isList ? "Exclude events that have it" : "Exclude this value"}
          </MenuItem>
        </>
      )}
    </>
  );
}
