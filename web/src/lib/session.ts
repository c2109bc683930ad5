import { toMicros } from "./time";

/** The title of a session: its name, else the name of its file, else its ID. */
export function sessionTitle(session: { id: string; name: string; file_name: string }): string {
  if (session.id === "unassigned") return "Unassigned events";
  return session.name || session.file_name || session.id;
}

export const modeNames: Record<number, string> = {
  0: "–",
  1: "All processes",
  2: "Chosen processes",
  3: "Uploaded file",
};

/** How long a session was monitored, up to now if it is active, in microseconds; undefined before its first start. */
export function monitoredMicros(
  session: { monitoring_started: string | null; monitoring_ended: string | null },
  now = Date.now(),
): number | undefined {
  if (!session.monitoring_started) return undefined;
  const end = session.monitoring_ended ? toMicros(session.monitoring_ended) : now * 1000;
  return Math.max(0, end - toMicros(session.monitoring_started));
}

export const stateNames = {
  created: "Not started",
  starting: "Starting",
  active: "Active",
  failed: "Failed",
  ended: "Ended",
};
