import { formatClock, formatDateTime, fromMicros, type Zone } from "@/lib/time";

/** The time of day, precise enough to tell apart times that differ by step, in microseconds. */
export function clock(micros: number, step: number, zone: Zone): string {
  const time = fromMicros(micros);
  if (step >= 86_400e6) return formatDateTime(time, zone).slice(0, 10);
  const text = formatClock(time, zone);
  if (step >= 60e6) return text.slice(0, 5);
  if (step >= 1e6) return text.slice(0, 8);
  return step >= 1e3 ? text.slice(0, 12) : text;
}

/** The offset of the zone from UTC at a time, in microseconds; positive east of it. */
export function zoneOffset(micros: number, zone: Zone): number {
  return zone === "utc" ? 0 : -new Date(micros / 1000).getTimezoneOffset() * 60e6;
}
