import type { Session } from "@/api/client";
import { basePath } from "./base";
import { toMicros } from "./time";

/** What people call a session: its name, else its file, else its ID. */
export function sessionTitle(session: Pick<Session, "id" | "name" | "file_name">): string {
  if (session.id === "unassigned") return "Unassigned events";
  return session.name || session.file_name || session.id;
}

export const modeNames: Record<number, string> = {
  0: "–",
  1: "All processes",
  2: "Chosen processes",
  3: "Uploaded file",
};

/** How long it was monitored, in microseconds, until now if it still is; undefined before the first start. */
export function monitoredMicros(
  session: Pick<Session, "monitoring_started" | "monitoring_ended">,
  now = Date.now(),
): number | undefined {
  if (!session.monitoring_started) return undefined;
  const end = session.monitoring_ended ? toMicros(session.monitoring_ended) : now * 1000;
  return Math.max(0, end - toMicros(session.monitoring_started));
}

export const stateNames: Record<Session["state"], string> = {
  created: "Not started",
  active: "Active",
  ended: "Ended",
};

/** Where the API has something of a session. */
export function sessionPath(sessionId: string, rest = ""): string {
  return `${basePath}/api/sessions/${encodeURIComponent(sessionId)}${rest}`;
}
