import { expect, test } from "vitest";
import { exitText } from "./exit";

test.each([
  [{ "data.exitCode": 0 }, "Exit code 0"],
  [{ "data.signal": 9, "data.signalName": "SIGKILL" }, "Signal SIGKILL"],
  [{ "data.signal": 9 }, "Signal 9"],
  [{ "data.exitCode": -1 }, "unknown"],
  [undefined, "unknown"],
])("the exit in %j is %s", (fields, text) => expect(exitText(fields)).toBe(text));
