import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";

const perRow = 16;
const rowHeight = 18;

interface Props {
  bytes: Uint8Array;
  /** Bytes to point out, from inclusive to exclusive. */
  marked?: { from: number; to: number };
  /** Of the first byte, where these are a part of something. */
  offset?: number;
  className?: string;
}

/** Bytes as people read them: offset, hex, and what of it is ASCII. Only what is in sight is drawn. */
export function HexView({ bytes, marked, offset = 0, className = "" }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: Math.ceil(bytes.length / perRow),
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 8,
  });
  return (
    <div
      ref={scroller}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
      tabIndex={0}
      role="group"
      aria-label={`${bytes.length} bytes in hex`}
      className={`max-h-80 overflow-auto rounded border border-line bg-sunken font-mono text-2xs ${className}`}
    >
      <div className="relative min-w-max" style={{ height: rows.getTotalSize() }}>
        {rows.getVirtualItems().map((row) => (
          <div
            key={row.key}
            className="absolute left-0 flex gap-4 px-2 whitespace-pre"
            style={{ top: row.start, height: rowHeight, lineHeight: `${rowHeight}px` }}
          >
            <Row bytes={bytes} from={row.index * perRow} offset={offset} marked={marked} />
          </div>
        ))}
      </div>
    </div>
  );
}

function Row({
  bytes,
  from,
  offset,
  marked,
}: {
  bytes: Uint8Array;
  from: number;
  offset: number;
  marked: Props["marked"];
}) {
  const part = bytes.subarray(from, from + perRow);
  const isMarked = (i: number) => marked !== undefined && from + i >= marked.from && from + i < marked.to;
  const cell = (i: number, text: string) => (
    <span key={i} className={isMarked(i) ? "bg-warn-soft text-warn" : undefined}>
      {text}
    </span>
  );
  return (
    <>
      <span className="text-muted select-none">{(offset + from).toString(16).padStart(8, "0")}</span>
      <span>
        {Array.from({ length: perRow }, (_, i) => {
          const byte = part[i];
          return cell(
            i,
            `${byte === undefined ? "  " : byte.toString(16).padStart(2, "0")}${i === 7 ? "  " : " "}`,
          );
        })}
      </span>
      <span className="text-muted">
        {Array.from(part, (byte, i) =>
          cell(i, byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·"),
        )}
      </span>
    </>
  );
}
