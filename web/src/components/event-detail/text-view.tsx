import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef } from "react";
import type { ByteSpan } from "@/components/hex-view";
import { SafeText } from "@/components/safe-text";
import { plural } from "@/lib/number";
import { lineStarts } from "./byte-search";

const lineHeight = 18;
const maxLines = 600_000;
const decoder = new TextDecoder();

/** Shows bytes as text, one line per row with its offset. It breaks lines that are too long. */
export function TextView({ bytes, marked }: { bytes: Uint8Array; marked?: ByteSpan }) {
  const starts = useMemo(() => lineStarts(bytes), [bytes]);
  const scroller = useRef<HTMLDivElement>(null);
  const lines = useVirtualizer({
    count: Math.min(starts.length, maxLines),
    getScrollElement: () => scroller.current,
    estimateSize: () => lineHeight,
    overscan: 8,
  });
  const markedFrom = marked?.from;
  useEffect(() => {
    if (markedFrom === undefined) return;
    const next = starts.findIndex((start) => start > markedFrom);
    lines.scrollToIndex((next < 0 ? starts.length : next) - 1, { align: "auto" });
  }, [lines, starts, markedFrom]);
  return (
    <div
      ref={scroller}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroller must be reachable by keyboard
      tabIndex={0}
      role="group"
      aria-label={`${plural(bytes.length, "byte")} as text`}
      className="min-h-0 flex-1 overflow-auto rounded border border-line bg-sunken py-1 font-mono text-2xs"
    >
      <div className="relative min-w-max" style={{ height: lines.getTotalSize() }}>
        {lines.getVirtualItems().map(({ index, start }) => {
          const from = starts[index] ?? 0;
          const to = starts[index + 1] ?? bytes.length;
          return (
            <div
              key={index}
              className="absolute left-0 flex gap-3 px-2 whitespace-pre"
              style={{ top: start, height: lineHeight, lineHeight: `${lineHeight}px` }}
            >
              <span className="text-muted select-none">{from.toString(16).padStart(8, "0")}</span>
              <Line bytes={bytes} from={from} to={to} marked={marked} />
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Line({
  bytes,
  from,
  to,
  marked,
}: {
  bytes: Uint8Array;
  from: number;
  to: number;
  marked: ByteSpan | undefined;
}) {
  // Do not mark the line feed that ends a line.
  const end = bytes[to - 1] === 0x0a ? to - 1 : to;
  const text = (a: number, b: number) =>
    a < b ? <SafeText text={decoder.decode(bytes.subarray(a, b))} /> : null;
  if (!marked || marked.to <= from || marked.from >= end) return text(from, end);
  const [a, b] = [Math.max(from, marked.from), Math.min(end, marked.to)];
  return (
    <span>
      {text(from, a)}
      <mark className="bg-warn text-page">{text(a, b)}</mark>
      {text(b, end)}
    </span>
  );
}
