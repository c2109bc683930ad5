import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { plural } from "@/lib/number";

const rowHeight = 18;
// Browsers limit the height of an element. The reader downloads larger contents.
const maxRows = 600_000;

export interface ByteSpan {
  from: number;
  to: number;
}

interface Props {
  bytes: Uint8Array;
  /** The bytes to highlight and reveal, from inclusive to exclusive. */
  marked?: ByteSpan;
  /** The offset of the first byte, if these are a part of a larger content. */
  offset?: number;
  className?: string;
}

/** A hex dump: offset, hex and ASCII. It draws only the visible rows. */
export function HexView({ bytes, marked, offset = 0, className = "max-h-80" }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const perRow = useBytesPerRow(scroller);
  const count = Math.min(Math.ceil(bytes.length / perRow), maxRows);
  const rows = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 8,
  });
  const markedFrom = marked?.from;
  useEffect(() => {
    if (markedFrom !== undefined) rows.scrollToIndex(Math.floor(markedFrom / perRow), { align: "auto" });
  }, [rows, markedFrom, perRow]);
  return (
    <div
      ref={scroller}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroller must be reachable by keyboard
      tabIndex={0}
      role="group"
      aria-label={`${plural(bytes.length, "byte")} in hex`}
      className={`overflow-auto rounded border border-line bg-sunken py-1 font-mono text-2xs ${className}`}
    >
      <div className="relative min-w-max" style={{ height: rows.getTotalSize() }}>
        {rows.getVirtualItems().map((row) => (
          <div
            key={row.key}
            className="absolute left-0 flex gap-3 px-2 whitespace-pre"
            style={{ top: row.start, height: rowHeight, lineHeight: `${rowHeight}px` }}
          >
            <Row bytes={bytes} from={row.index * perRow} perRow={perRow} offset={offset} marked={marked} />
          </div>
        ))}
      </div>
      {bytes.length > maxRows * perRow && (
        <p className="px-2 py-1 font-sans text-muted">
          There are more bytes than this view can show. Download them to see all.
        </p>
      )}
    </div>
  );
}

/** 16 bytes per row if they fit, 8 on a phone. */
function useBytesPerRow(scroller: React.RefObject<HTMLElement | null>): 8 | 16 {
  const [perRow, setPerRow] = useState<8 | 16>(16);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setPerRow(element.clientWidth < 525 ? 8 : 16));
    observer.observe(element);
    return () => observer.disconnect();
  }, [scroller]);
  return perRow;
}

interface RowProps {
  bytes: Uint8Array;
  from: number;
  perRow: number;
  offset: number;
  marked: ByteSpan | undefined;
}

function Row({ bytes, from, perRow, offset, marked }: RowProps) {
  const part = bytes.subarray(from, from + perRow);
  const hex = Array.from({ length: perRow }, (_, i) => {
    const byte = part[i];
    const gap = i === perRow - 1 ? "" : i % 8 === 7 ? "  " : " ";
    return `${byte === undefined ? "  " : byte.toString(16).padStart(2, "0")}${gap}`;
  });
  const ascii = Array.from(part, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·"));
  const inRow = marked && { from: marked.from - from, to: marked.to - from };
  return (
    <>
      <span className="text-muted select-none">{(offset + from).toString(16).padStart(8, "0")}</span>
      <Parts texts={hex} marked={inRow} />
      <span className="text-muted">
        <Parts texts={ascii} marked={inRow} />
      </span>
    </>
  );
}

/** The text before the marked bytes, of the marked bytes, and after them. */
function Parts({ texts, marked }: { texts: string[]; marked: ByteSpan | undefined }) {
  if (!marked || marked.to <= 0 || marked.from >= texts.length) return <span>{texts.join("")}</span>;
  const from = Math.max(0, marked.from);
  const shown = texts.slice(from, marked.to).join("");
  const gap = shown.length > 1 ? shown.length - shown.trimEnd().length : 0;
  return (
    <span>
      {texts.slice(0, from).join("")}
      <mark className="bg-warn text-page">{shown.slice(0, shown.length - gap)}</mark>
      {" ".repeat(gap)}
      {texts.slice(marked.to).join("")}
    </span>
  );
}
