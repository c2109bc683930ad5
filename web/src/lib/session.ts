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

/** Whether the session is another session than the one in the bundle that it was imported from. */
export function isImportedCopy(session: { id: string; imported_from: string | null }): boolean {
  return session.imported_from !== null && session.imported_from !== session.id;
}

interface Monitored {
  monitoring_started: string | null;
  monitoring_ended: string | null;
  agent_silent_since: string | null;
}

/**
 * How long a session was monitored, in microseconds: up to its end, up to the last sign of
 * a silent agent, or up to now; undefined before its first start.
 */
export function monitoredMicros(session: Monitored, now = Date.now()): number | undefined {
  if (!session.monitoring_started) return undefined;
  const last = session.monitoring_ended ?? session.agent_silent_since;
  const end = last ? toMicros(last) : now * 1000;
  return Math.max(0, end - toMicros(session.monitoring_started));
}

export const stateNames = {
  created: "Not started",
  starting: "Starting",
  active: "Active",
  failed: "Failed",
  ended: "Ended",
};

interface End {
  reason: "exited" | "signal" | "timeout" | "stopped" | "agent_lost";
  exitCode: number | null;
  signal: number | null;
}

/** How a session ended, for narrow places: "Exit code 3", "Signal 9", "Stopped". */
export function endText({ reason, exitCode, signal }: End): string {
  switch (reason) {
    case "exited":
      return exitCode === null ? "Exited" : `Exit code ${exitCode}`;
    case "signal":
      return signal === null ? "Killed by a signal" : `Signal ${signal}`;
    case "timeout":
      return "Time limit";
    case "stopped":
      return "Stopped";
    case "agent_lost":
      return "Agent lost";
  }
}
