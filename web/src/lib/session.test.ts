import { expect, test } from "vitest";
import { endText, monitoredMicros } from "./session";

const end = { exitCode: null, signal: null };
test.each<[Parameters<typeof endText>[0], string]>([
  [{ ...end, reason: "exited", exitCode: 3 }, "Exit code 3"],
  [{ ...end, reason: "exited" }, "Exited"],
  [{ ...end, reason: "signal", signal: 9 }, "Signal 9"],
  [{ ...end, reason: "timeout" }, "Time limit"],
  [{ ...end, reason: "stopped" }, "Stopped"],
  [{ ...end, reason: "agent_lost" }, "Agent lost"],
])("%j is shown as %s", (given, text) => expect(endText(given)).toBe(text));

test("a session was monitored until its end, the silence of its agent, or now", () => {
  const session = {
    monitoring_started: "2026-11-29T14:00:00Z",
    monitoring_ended: null,
    agent_silent_since: null,
  };
  const now = Date.UTC(2026, 10, 29, 14, 1);
  expect(monitoredMicros({ ...session, monitoring_started: null }, now)).toBeUndefined();
  expect(monitoredMicros(session, now)).toBe(60e6);
  expect(monitoredMicros({ ...session, agent_silent_since: "2026-11-29T14:00:30Z" }, now)).toBe(30e6);
  expect(monitoredMicros({ ...session, monitoring_ended: "2026-11-29T14:00:14.800000Z" }, now)).toBe(14.8e6);
});
