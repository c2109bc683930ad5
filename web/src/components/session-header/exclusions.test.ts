import { expect, test } from "vitest";
import { browsersIn } from "./exclusions";

test("the browsers of a session_start are those that display the dashboard", () => {
  const browser = {
    pid: 7,
    processName: "chromium",
    imagePath: "/usr/lib/chromium/chromium",
    role: "dashboard",
  };
  const agent = { pid: 8, processName: "ospulse-agent", role: "agent" };
  expect(browsersIn({ exclusions: [agent, browser] })).toEqual([browser]);
});

test("a session_start that another program sent has no browsers", () => {
  const odd = [
    null,
    "text",
    {},
    { exclusions: "all" },
    { exclusions: [{ pid: 7, processName: "x", imagePath: {}, role: "dashboard" }] },
    { exclusions: [null, 7, { role: "dashboard" }, { role: "dashboard", pid: "7", processName: {} }] },
  ];
  for (const data of odd) expect(browsersIn(data), JSON.stringify(data)).toEqual([]);
});
