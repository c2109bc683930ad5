import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";
import { SafeText } from "@/components/safe-text";
import { SortHeader } from "@/components/ui/sort-header";
import { useShortcut } from "@/hooks/shortcuts";
import { formatBytes, formatShort } from "@/lib/number";
import { useSettings } from "@/lib/settings";
import { formatClock } from "@/lib/time";
import type { FileSummary } from "./file-detail";

const rowHeight = 28;
const narrowColumns = "grid items-center gap-3 px-3 grid-cols-[minmax(0,1fr)_4.5rem]";
const wideColumns = `${narrowColumns} md:grid-cols-[minmax(0,1fr)_4.5rem_3.5rem_3.5rem_3.5rem_3.5rem_3.5rem_5rem_5rem_9rem_6.5rem]`;

export type FileSort = "events" | "path" | "bytes_read" | "bytes_written" | "last";

interface Props {
  files: readonly FileSummary[];
  sort: FileSort;
  chosen?: string;
  narrow: boolean;
  onSort: (sort: FileSort) => void;
  onChoose: (path: string | undefined) => void;
  onEnd: () => void;
}

const eventsOf = (file: FileSummary) =>
  file.reads + file.writes + file.creates + file.renames + file.deletes + file.others;

export function FileTable({ files, sort, chosen, narrow, onSort, onChoose, onEnd }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: files.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height: 600 },
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= files.length - 50) onEnd();
  }, [last, files.length, onEnd]);
  const index = files.findIndex((file) => file.path === chosen);
  const move = (step: number) => {
    const next = Math.min(files.length - 1, Math.max(0, index + step));
    rows.scrollToIndex(next);
    onChoose(files[next]?.path);
  };
  useShortcut("j", "Next file", "Files", () => move(1));
  useShortcut("k", "Previous file", "Files", () => move(-1));
  useShortcut("Escape", "Close the details", "Files", () => onChoose(undefined));
  const grid = narrow ? narrowColumns : wideColumns;
  const more = narrow ? "hidden" : "hidden md:block";
  const header = (by: FileSort, label: string, className = "") => (
    <SortHeader
      label={label}
      active={sort === by}
      descending={by !== "path"}
      onSort={() => onSort(by)}
      className={className}
    />
  );
  const plain = (label: string, title: string) => (
    <span role="columnheader" title={title} className={`${more} text-right`}>
      {label}
    </span>
  );
  return (
    <div ref={scroller} className="min-h-0 min-w-0 flex-1 overflow-auto">
      <div role="grid" aria-label="Files" aria-rowcount={files.length + 1}>
        <div
          role="row"
          aria-rowindex={1}
          className={`${grid} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
        >
          {header("path", "Path")}
          {header("events", "Events", "justify-end")}
          {plain("Read", "Reads")}
          {plain("Write", "Writes")}
          {plain("New", "Creations")}
          {plain("Move", "Renames")}
          {plain("Del", "Deletions")}
          {header("bytes_read", "In", `${more} justify-end`)}
          {header("bytes_written", "Out", `${more} justify-end`)}
          <span role="columnheader" className={more}>
            By
          </span>
          {header("last", "Last", more)}
        </div>
        <div role="rowgroup" className="relative" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const file = files[item.index];
            if (!file) return null;
            const selected = file.path === chosen;
            return (
              <div
                key={file.path}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={selected}
                tabIndex={selected || (index < 0 && item.index === 0) ? 0 : -1}
                onClick={() => onChoose(file.path)}
                onKeyDown={(event) => {
                  if (event.key === "Enter") onChoose(file.path);
                  else if (event.key === "ArrowDown") move(1);
                  else if (event.key === "ArrowUp") move(-1);
                  else return;
                  event.preventDefault();
                }}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                className={`${grid} absolute inset-x-0 cursor-pointer border-b border-line text-xs -outline-offset-2 ${selected ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                <Cells file={file} more={more} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Cells({ file, more }: { file: FileSummary; more: string }) {
  const { zone } = useSettings();
  const count = (n: number, look = "") => (
    <span role="gridcell" className={`${more} text-right tabular-nums ${n === 0 ? "text-muted" : look}`}>
      {n === 0 ? "·" : formatShort(n)}
    </span>
  );
  const first = file.processes[0];
  return (
    <>
      <span role="gridcell" className="truncate font-mono">
        <SafeText text={file.path} limit={400} />
      </span>
      <span role="gridcell" className="text-right tabular-nums">
        {formatShort(eventsOf(file))}
      </span>
      {count(file.reads)}
      {count(file.writes, "font-semibold text-file")}
      {count(file.creates, "font-semibold text-good")}
      {count(file.renames, "font-semibold text-warn")}
      {count(file.deletes, "font-semibold text-bad")}
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {formatBytes(file.bytes_read)}
      </span>
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {formatBytes(file.bytes_written)}
      </span>
      <span role="gridcell" className={`${more} truncate`}>
        {first && <SafeText text={first.name || String(first.pid ?? "")} limit={60} />}
        {file.process_count > 1 && <span className="text-muted"> +{file.process_count - 1}</span>}
      </span>
      <span role="gridcell" className={`${more} font-mono text-muted`}>
        {formatClock(file.last_at, zone).slice(0, 12)}
      </span>
    </>
  );
}
