import { expect, test } from "vitest";
import { endText } from "./ending";

test.each([
  [{ "data.reason": "exited", "data.exitCode": 3 }, "Ended with exit code 3"],
  [{ "data.reason": "killed", "data.exitCode": -1, "data.signal": "SIGKILL" }, "Killed by signal SIGKILL"],
  [{ "data.reason": "timeout", "data.exitCode": 0 }, "Ended: timeout"],
  [{ "data.reason": "agent_restarted" }, "Ended: agent restarted"],
  [{}, "Ended"],
])("%j is shown as %s", (fields, text) => expect(endText(fields)).toBe(text));
