import type { ListedEvent } from "@/api/client";
import { bytesFromHex } from "@/lib/bytes";

/** The members of file events from which contents are assembled. */
export const contentFields = "data.content,data.bytesTransferred,data.handle";

/** Captured bytes, or the number of bytes that were not captured. */
type Piece = { bytes: Uint8Array } | { missing: number };

/** The bytes that one process read or wrote through one open file. */
export interface Stream {
  key: string;
  direction: "read" | "written";
  pid: number | null;
  process: string | null;
  calls: number;
  /** The number of transferred bytes, and how many of them were captured. */
  total: number;
  captured: number;
  pieces: Piece[];
  firstSeq: number;
}

const moves: [pattern: RegExp, direction: Stream["direction"]][] = [
  [/read|recv|receive/i, "read"],
  [/write|send/i, "written"],
];
const opens = /open|creat|close/i;
// Windows agents send impossible lengths, such as 4294967280, which is a status.
const most = 0x7fff_f000;

/**
 * Assembles the contents that were read from a file and written to it: a stream for each
 * process, open, handle and direction, which joins its calls in the order of their events.
 */
export function assemble(events: readonly ListedEvent[]): Stream[] {
  const streams = new Map<string, Stream>();
  const openings = new Map<number | null, number>();
  for (const event of events) {
    const operation = event.operation ?? "";
    const direction = moves.find(([pattern]) => pattern.test(operation))?.[1];
    if (!direction) {
      if (opens.test(operation)) openings.set(event.pid, (openings.get(event.pid) ?? 0) + 1);
      continue;
    }
    const fields = (event.fields ?? {}) as Record<string, unknown>;
    const key = [
      event.pid,
      openings.get(event.pid) ?? 0,
      String(fields["data.handle"] ?? ""),
      direction,
    ].join(" ");
    const stream = streams.get(key) ?? {
      key,
      direction,
      pid: event.pid,
      process: event.process_name,
      calls: 0,
      total: 0,
      captured: 0,
      pieces: [],
      firstSeq: event.seq,
    };
    streams.set(key, stream);
    stream.calls++;
    add(stream, fields);
  }
  return [...streams.values()].filter((stream) => stream.total > 0);
}

function add(stream: Stream, fields: Record<string, unknown>): void {
  const content = fields["data.content"];
  const bytes = (typeof content === "string" && bytesFromHex(cutHex(content))) || new Uint8Array();
  const length = fields["data.bytesTransferred"];
  const moved = typeof length === "number" && length >= 0 && length <= most ? length : 0;
  const size = Math.max(moved, bytes.length);
  stream.total += size;
  stream.captured += bytes.length;
  if (bytes.length > 0) stream.pieces.push({ bytes });
  if (size > bytes.length) {
    const last = stream.pieces.at(-1);
    if (last && "missing" in last) last.missing += size - bytes.length;
    else stream.pieces.push({ missing: size - bytes.length });
  }
}

/** Decodes hex that may end within a byte, because lists truncate long contents. */
function cutHex(text: string): string {
  const whole = /^\s*[0-9a-fA-F]{2}(?:\s*[0-9a-fA-F]{2})*/.exec(text);
  return whole?.[0] ?? "";
}

/** The captured bytes of a stream, joined. */
export function bytesOf(stream: Stream): Uint8Array {
  const all = new Uint8Array(stream.captured);
  let at = 0;
  for (const piece of stream.pieces) {
    if ("missing" in piece) continue;
    all.set(piece.bytes, at);
    at += piece.bytes.length;
  }
  return all;
}

/** The stream as text; undefined if it is not UTF-8 or contains a NUL. */
export function textOf(stream: Stream): string | undefined {
  const bytes = bytesOf(stream);
  if (bytes.includes(0)) return undefined;
  const text = new TextDecoder().decode(bytes);
  // Contents that are truncated within a character are still text.
  const broken = text.split("\ufffd").length - 1;
  return broken > 1 + text.length / 50 ? undefined : text;
}
