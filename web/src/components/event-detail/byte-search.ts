import { bytesFromHex } from "@/lib/bytes";

const maxMatches = 10_000;

/** Converts the search text to bytes: from hex if isHex, else as UTF-8. */
export function wantedBytes(text: string, isHex: boolean): Uint8Array | undefined {
  return isHex ? bytesFromHex(text) : new TextEncoder().encode(text);
}

/** The offsets of a byte sequence, at most 10,000. A text search ignores the case of A to Z. */
export function findBytes(
  bytes: Uint8Array,
  wanted: Uint8Array,
  anyCase: boolean,
): { places: number[]; hasMore: boolean } {
  const places: number[] = [];
  const fold = anyCase ? lower : (byte: number) => byte;
  const run = wanted.map(fold);
  const [first] = run;
  if (first === undefined) return { places, hasMore: false };
  outer: for (let at = 0; at + run.length <= bytes.length; at++) {
    if (fold(bytes[at] ?? 0) !== first) continue;
    for (let i = 1; i < run.length; i++) if (fold(bytes[at + i] ?? 0) !== run[i]) continue outer;
    if (places.length === maxMatches) return { places, hasMore: true };
    places.push(at);
    at += run.length - 1;
  }
  return { places, hasMore: false };
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

const longestLine = 120;

/** The offsets of line starts: after line feeds and, within lines that are too long, between characters. */
export function lineStarts(bytes: Uint8Array): Uint32Array {
  const starts = [0];
  let start = 0;
  for (let at = 0; at < bytes.length; at++) {
    const isBreak = bytes[at] === 0x0a;
    const isLong = at + 1 - start >= longestLine && ((bytes[at + 1] ?? 0) & 0xc0) !== 0x80;
    if ((isBreak || isLong) && at + 1 < bytes.length) {
      start = at + 1;
      starts.push(start);
    }
  }
  return Uint32Array.from(starts);
}
