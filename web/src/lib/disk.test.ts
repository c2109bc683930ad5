import { expect, test } from "vitest";
import { diskWarning } from "./disk";

const now = Date.parse("2026-11-22T12:00:00Z");
type Health = Parameters<typeof diskWarning>[0];
const disk: Health["disk"] = { state: "ok", free_bytes: 5 * 2 ** 30, full_at: null };
const keep: Health["retention"] = { days: 0, gb: 0 };

test.each<[Partial<Health["disk"]>, Partial<Health["retention"]>, string | undefined]>([
  [{}, {}, undefined],
  [
    { state: "filling", full_at: "2026-11-22T17:00:00Z" },
    {},
    "The backend's disk will be full in about 5 h 00 min: 5.0 GB are free. Delete sessions, add space, or set RETAIN_DAYS or RETAIN_GB.",
  ],
  [
    { state: "low" },
    { days: 30, gb: 0.5 },
    "The backend's disk is nearly full: 5.0 GB are free. Retention removes old sessions by RETAIN_DAYS=30 and RETAIN_GB=0.5. Delete more, lower the limit, or add space.",
  ],
  [
    { state: "full", free_bytes: 1024 },
    { gb: 50 },
    "The backend's disk is full: 1.0 KB are free, and new events are refused. Retention removes old sessions by RETAIN_GB=50. Delete more, lower the limit, or add space.",
  ],
])("%j %j", (state, retention, text) => {
  const health = { disk: { ...disk, ...state }, retention: { ...keep, ...retention } };
  expect(diskWarning(health, now)).toBe(text);
});
