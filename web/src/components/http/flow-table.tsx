import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";
import { SafeText } from "@/components/safe-text";
import { useShortcut } from "@/hooks/shortcuts";
import { formatBytes } from "@/lib/number";
import { useSettings } from "@/lib/settings";
import { formatClock, formatDuration } from "@/lib/time";
import type { Flow } from "./flows";

const rowHeight = 28;
const columns = "grid items-center gap-3 px-3 grid-cols-[4rem_3.5rem_minmax(0,1fr)]";
const wide = `${columns} md:grid-cols-[6.5rem_4.5rem_3.5rem_11rem_minmax(0,1fr)_9rem_5rem_5rem_8rem]`;

interface Props {
  flows: readonly Flow[];
  chosen?: number;
  /** With the details beside it there is room for the first columns only. */
  narrow: boolean;
  onChoose: (flow: Flow | undefined) => void;
  onEnd: () => void;
}

/** The requests as a browser's network panel has them. */
export function FlowTable({ flows, chosen, narrow, onChoose, onEnd }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: flows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height: 600 },
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= flows.length - 50) onEnd();
  }, [last, flows.length, onEnd]);
  const index = flows.findIndex((flow) => flow.requestSeq === chosen || flow.responseSeq === chosen);
  const move = (step: number) => {
    const next = Math.min(flows.length - 1, Math.max(0, index + step));
    rows.scrollToIndex(next);
    onChoose(flows[next]);
  };
  useShortcut("j", "Next request", "HTTP", () => move(1));
  useShortcut("k", "Previous request", "HTTP", () => move(-1));
  useShortcut("Escape", "Close the details", "HTTP", () => onChoose(undefined));
  const grid = narrow ? columns : wide;
  const more = narrow ? "hidden" : "hidden md:block";
  return (
    <div ref={scroller} className="min-h-0 min-w-0 flex-1 overflow-auto">
      <div role="grid" aria-label="HTTP requests" aria-rowcount={flows.length + 1}>
        <div
          role="row"
          aria-rowindex={1}
          className={`${grid} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
        >
          <span role="columnheader" className={more}>
            Time
          </span>
          <span role="columnheader">Method</span>
          <span role="columnheader">Status</span>
          <span role="columnheader" className={more}>
            Host
          </span>
          <span role="columnheader">Path</span>
          <span role="columnheader" className={more}>
            Type
          </span>
          <span role="columnheader" className={`${more} text-right`}>
            Size
          </span>
          <span role="columnheader" className={`${more} text-right`}>
            Took
          </span>
          <span role="columnheader" className={more}>
            Process
          </span>
        </div>
        <div role="rowgroup" className="relative" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const flow = flows[item.index];
            if (!flow) return null;
            const selected = item.index === index;
            return (
              <div
                key={flow.requestSeq ?? flow.seq}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={selected}
                tabIndex={selected || (index < 0 && item.index === 0) ? 0 : -1}
                onClick={() => onChoose(flow)}
                onKeyDown={(event) => {
                  if (event.key === "Enter") onChoose(flow);
                  else if (event.key === "ArrowDown") move(1);
                  else if (event.key === "ArrowUp") move(-1);
                  else return;
                  event.preventDefault();
                }}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                className={`${grid} absolute inset-x-0 cursor-pointer border-b border-line text-xs -outline-offset-2 ${selected ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                <Cells flow={flow} more={more} narrow={narrow} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Cells({ flow, more, narrow }: { flow: Flow; more: string; narrow: boolean }) {
  const { zone } = useSettings();
  return (
    <>
      <span role="gridcell" className={`${more} font-mono text-muted`}>
        {formatClock(flow.timestamp, zone).slice(0, 12)}
      </span>
      <span role="gridcell" className="truncate font-medium">
        <SafeText text={flow.method} limit={20} />
      </span>
      <span role="gridcell" className={`font-mono ${statusLook(flow.status)}`}>
        {flow.status ?? "–"}
      </span>
      <span role="gridcell" className={`${more} truncate`}>
        <SafeText text={flow.host} limit={200} />
      </span>
      <span role="gridcell" className="truncate font-mono">
        <SafeText text={flow.host} limit={200} className={`text-muted ${narrow ? "" : "md:hidden"}`} />
        <SafeText text={flow.path} limit={400} />
      </span>
      <span role="gridcell" className={`${more} truncate text-muted`}>
        <SafeText text={flow.contentType.split(";")[0] ?? ""} limit={80} />
      </span>
      <span role="gridcell" className={`${more} text-right tabular-nums`}>
        {flow.responseBytes === undefined ? "–" : formatBytes(flow.responseBytes)}
      </span>
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {flow.micros === undefined ? "–" : formatDuration(flow.micros)}
      </span>
      <span role="gridcell" className={`${more} truncate text-muted`}>
        {flow.pid !== null && (
          <>
            <SafeText text={flow.process ?? ""} limit={60} /> {flow.pid}
          </>
        )}
      </span>
    </>
  );
}

function statusLook(status: number | undefined): string {
  if (status === undefined) return "text-muted";
  if (status >= 500) return "text-bad font-semibold";
  if (status >= 400) return "text-warn";
  if (status >= 300) return "text-file";
  return "text-good";
}
