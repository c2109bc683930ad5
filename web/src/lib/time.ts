/** The zone in which times are shown. */
export type Zone = "local" | "utc";

const pattern = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z$/;

/** Converts a time of the API to microseconds since 1970; NaN if it is not a time. Exact until the year 2255. */
export function toMicros(time: string): number {
  const match = pattern.exec(time);
  if (!match) return Number.NaN;
  const seconds = Date.parse(`${time.slice(0, 19)}Z`);
  return seconds * 1000 + Number((match[7] ?? "").slice(0, 6).padEnd(6, "0"));
}

/** Converts microseconds since 1970 to a time of the API. */
export function fromMicros(micros: number): string {
  const whole = Math.floor(micros);
  const fraction = ((whole % 1e6) + 1e6) % 1e6;
  const seconds = new Date((whole - fraction) / 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(fraction).padStart(6, "0")}Z`;
}

function parts(micros: number, zone: Zone) {
  const date = new Date(Math.floor(micros / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  return zone === "utc"
    ? {
        date: `${date.getUTCFullYear()}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`,
        clock: `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`,
      }
    : {
        date: `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
        clock: `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
      };
}

/** 2026-11-22 18:57:39, in the zone; the text itself if it is not a time. */
export function formatDateTime(time: string, zone: Zone): string {
  const micros = toMicros(time);
  if (Number.isNaN(micros)) return time;
  const { date, clock } = parts(micros, zone);
  return `${date} ${clock}`;
}

/** 18:57:39.967551, in the zone. */
export function formatClock(time: string, zone: Zone): string {
  const micros = toMicros(time);
  if (Number.isNaN(micros)) return time;
  const fraction = String(((micros % 1e6) + 1e6) % 1e6).padStart(6, "0");
  return `${parts(micros, zone).clock}.${fraction}`;
}

/** The zone's name for people, such as UTC or UTC+02:00. */
export function zoneName(zone: Zone, at = new Date()): string {
  const minutes = zone === "utc" ? 0 : -at.getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const two = (n: number) => String(n).padStart(2, "0");
  const absolute = Math.abs(minutes);
  return `UTC${minutes < 0 ? "−" : "+"}${two(Math.floor(absolute / 60))}:${two(absolute % 60)}`;
}

/** A span of microseconds for people: 350 µs, 12.4 ms, 3.20 s, 4 min 05 s, 2 h 03 min. */
export function formatDuration(micros: number): string {
  if (!Number.isFinite(micros)) return "";
  if (micros < 0) return `−${formatDuration(-micros)}`;
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 999_500) return `${threeDigits(micros / 1e3)} ms`;
  if (micros < 60e6) return `${(micros / 1e6).toFixed(2)} s`;
  const seconds = Math.round(micros / 1e6);
  const two = (n: number) => String(n).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** 1.23, 12.3, 123: for numbers from 1 to 999. */
function threeDigits(n: number): string {
  return n.toFixed(n < 9.995 ? 2 : n < 99.95 ? 1 : 0);
}

/** The approximate age of a time: just now, 5 min ago, 3 h ago, else the date. */
export function formatAgo(time: string, zone: Zone, now = Date.now()): string {
  const seconds = now / 1000 - toMicros(time) / 1e6;
  if (Number.isNaN(seconds)) return time;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return formatDateTime(time, zone).slice(0, 16);
}
