import { fromMicros, toMicros } from "@/lib/time";
import type { View } from "@/lib/view";
import type { Range } from "./bars";

const shortest = 20; // the shortest zoomed range, in microseconds

/** Zooms a range about a time, within the whole. A factor below 1 zooms in. */
export function zoomRange(range: Range, about: number, factor: number, whole: Range): Range | undefined {
  const length = Math.max(shortest, (range.to - range.from) * factor);
  const total = whole.to - whole.from;
  if (length >= total) return undefined;
  const share = range.to === range.from ? 0.5 : (about - range.from) / (range.to - range.from);
  return keepWithin({ from: about - share * length, to: about + (1 - share) * length }, whole);
}

/** Moves a range; it stops at the ends of the whole and keeps its length. */
export function moveRange(range: Range, by: number, whole: Range): Range {
  return keepWithin({ from: range.from + by, to: range.to + by }, whole);
}

function keepWithin(range: Range, whole: Range): Range {
  const length = Math.min(range.to - range.from, whole.to - whole.from);
  const from = Math.min(Math.max(range.from, whole.from), whole.to - length);
  return { from: Math.round(from), to: Math.round(from + length) };
}

/** The range between two times in either order, within the whole. */
export function between(a: number, b: number, whole: Range): Range {
  const within = (t: number) => Math.round(Math.min(Math.max(t, whole.from), whole.to));
  return { from: within(Math.min(a, b)), to: within(Math.max(a, b)) };
}

/** A view's span in microseconds; undefined if it is absent or invalid. */
export function rangeOfSpan(span: View["span"]): Range | undefined {
  if (!span) return undefined;
  const range = { from: toMicros(span.from), to: toMicros(span.to) };
  return range.from <= range.to ? range : undefined;
}

export function spanOfRange(range: Range): NonNullable<View["span"]> {
  return { from: fromMicros(range.from), to: fromMicros(range.to) };
}

/** The span after a key press; undefined if the key does nothing. */
export function spanByKey(
  key: string,
  isExtending: boolean,
  span: Range | undefined,
  shown: Range,
): Range | undefined {
  const length = shown.to - shown.from;
  const step = Math.max(1, Math.round(length / 50));
  const direction = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[key];
  const now = span ?? { from: shown.from, to: shown.from + Math.round(length / 10) };
  if (direction !== undefined) {
    if (!span) return now;
    if (isExtending) {
      const to = Math.min(shown.to, now.to + direction * step);
      return { from: now.from, to: Math.max(now.from + 1, to) };
    }
    return moveRange(now, direction * step, shown);
  }
  if (key === "Home") return moveRange(now, shown.from - now.from, shown);
  if (key === "End") return moveRange(now, shown.to - now.to, shown);
  return undefined;
}
