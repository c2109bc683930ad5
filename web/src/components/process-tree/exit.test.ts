import { expect, test } from "vitest";
import { exitText, userText } from "./exit";

test.each([
  [{ "data.exitCode": 0 }, "Exit code 0"],
  [{ "data.signal": 9, "data.signalName": "SIGKILL" }, "Signal SIGKILL"],
  [{ "data.signal": 9 }, "Signal 9"],
  [{ "data.exitCode": -1 }, "unknown"],
  [undefined, "unknown"],
])("the exit in %j is %s", (fields, text) => expect(exitText(fields)).toBe(text));

const anna = { "data.newUserId": 1000, "data.newUserName": "anna" };
test.each([
  [{ "data.metadata.userId": 1000 }, anna, "anna (1000)"],
  [{ "data.metadata.userId": 0 }, anna, "0"], // the process became another user
  [{ "data.metadata.userId": 1000 }, { "data.newUserId": 1000 }, "1000"],
  [{ "data.metadata.userId": 0 }, undefined, "0"],
  [{ "data.metadata.userId": null }, anna, "unknown"],
  [undefined, anna, "unknown"],
])("the user in %j, created as %j, is %s", (fields, creation, text) =>
  expect(userText(fields, creation)).toBe(text),
);
