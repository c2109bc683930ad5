import { expect, test } from "vitest";
import { fullName, isOf } from "./matrix";

test("a finding is of its techniques and its tactics", () => {
  const shell = {
    id: "T1059.004",
    name: "Unix Shell",
    parent_id: "T1059",
    parent_name: "Command and Scripting Interpreter",
    state: "current" as const,
    tagged_as: null,
    tactics: ["execution"],
  };
  const finding = { tactics: ["execution", "impact"], techniques: [shell] };
  const of = (...ids: string[]) => ids.filter((id) => isOf(finding, id));
  expect(of("T1059.004", "T1059", "execution", "impact", "stealth", "")).toEqual([
    "T1059.004",
    "execution",
    "impact",
  ]);
  expect(fullName(shell)).toBe("Command and Scripting Interpreter: Unix Shell");
  expect(fullName({ ...shell, parent_name: null, state: "deprecated" })).toBe("Unix Shell (deprecated)");
  expect(fullName({ ...shell, state: "unknown" })).toBe("Unknown technique");
});
