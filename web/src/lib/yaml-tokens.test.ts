import { expect, test } from "vitest";
import { yamlTokens } from "./yaml-tokens";

const parts = (line: string) =>
  yamlTokens(line).map(({ from, to, kind }) => `${kind} ${line.slice(from, to).trim()}`);

test("keys, strings, constants, marks and comments have colors", () => {
  expect(parts("title: Shell of # a server")).toEqual(["key title", "mark :", "comment # a server"]);
  expect(parts("    Image|endswith: [/a, 'b: c', 5]")).toEqual([
    "key Image|endswith",
    "mark :",
    "mark [",
    "mark ,",
    "string 'b: c'",
    "mark ,",
    "constant 5",
    "mark ]",
  ]);
  expect(parts("  - TargetFilename: null")).toEqual([
    "mark -",
    "key TargetFilename",
    "mark :",
    "constant null",
  ]);
  expect(parts("  - /etc/shadow")).toEqual(["mark -"]);
  expect(parts("# a comment: 'x'")).toEqual(["comment # a comment: 'x'"]);
  expect(parts('"a key": "unfinished')).toEqual(['key "a key"', "mark :", 'string "unfinished']);
  expect(parts("version 1.2.3 of it")).toEqual([]);
});

test("positions are in order, and hostile lines take no time", () => {
  const began = process.cpuUsage(); // of this process: other programs may be busy
  const all = [
    "a".repeat(2000),
    '"'.repeat(2000),
    "- ".repeat(1000),
    "a: ".repeat(600),
    "'\\".repeat(900),
  ].map(yamlTokens);
  expect(process.cpuUsage(began).user).toBeLessThan(1_000_000); // microseconds
  for (const tokens of all) {
    let last = 0;
    for (const { from, to } of tokens) {
      expect(from).toBeGreaterThanOrEqual(last);
      expect(to).toBeGreaterThan(from);
      last = to;
    }
  }
  expect(yamlTokens("x: ".repeat(1000))).toEqual([]);
});
