import { formatBytes } from "./number";
import { formatDuration } from "./time";

/** The parts of the backend's health that tell about its disk. */
interface DiskHealth {
  disk: { state: "ok" | "filling" | "low" | "full"; free_bytes: number | null; full_at: string | null };
  retention: { days: number; gb: number };
}

/** The warning about the backend's disk, and what can be done; undefined if there is none. */
export function diskWarning({ disk, retention }: DiskHealth, now = Date.now()): string | undefined {
  if (disk.state === "ok") return undefined;
  const free = formatBytes(disk.free_bytes ?? 0);
  const facts = {
    full: `The backend's disk is full: ${free} are free, and new events are refused.`,
    low: `The backend's disk is nearly full: ${free} are free.`,
    filling: `The backend's disk will be full in about ${untilFull(disk.full_at, now)}: ${free} are free.`,
  };
  return `${facts[disk.state]} ${advice(retention)}`;
}

function untilFull(fullAt: string | null, now: number): string {
  const micros = Math.max(0, Date.parse(fullAt ?? "") - now) * 1000;
  return formatDuration(micros);
}

function advice({ days, gb }: DiskHealth["retention"]): string {
  if (days === 0 && gb === 0) return "Delete sessions, add space, or set RETAIN_DAYS or RETAIN_GB.";
  const limits = [days > 0 && `RETAIN_DAYS=${days}`, gb > 0 && `RETAIN_GB=${gb}`].filter(Boolean);
  return `Retention removes old sessions by ${limits.join(" and ")}. Delete more, lower the limit, or add space.`;
}
