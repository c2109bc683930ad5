import { expect, test } from "vitest";
import type { Process } from "@/api/client";
import { type SuggestionSource, suggest } from "./completion";

const asked: string[] = [];
const source: SuggestionSource = {
  values: async (field) => {
    asked.push(field);
    return [
      { value: "curl", count: 1200 },
      { value: "it's a \u202Etxt.exe", count: 3 },
      { value: "<img src=x>", count: 1 },
    ];
  },
  processes: async (text) => {
    asked.push(text);
    return [{ id: "42", pid: 7, name: "\u202Esh", command_line: "sh -c x" } as Process];
  },
  known: async (field) => {
    asked.push(field);
    return [
      { value: "true", detail: "any" },
      { value: "A shell\u202E", detail: "low" },
    ];
  },
  dataValues: async (path) => {
    asked.push(path);
    return ["EACCES", "ENOENT", -2, "ENOENT", null, { a: 1 }, 2 ** 64, "a\0 b"];
  },
  paths: async (types) => [
    { path: "data.syscall", type: "text" },
    { path: "data.exitCode", type: "number" },
    { path: `data.of.${types?.join("_") ?? "all"}`, type: "number" },
  ],
};
const labels = async (text: string) =>
  (await suggest(text, text.length, source))?.items.map((item) => item.label);

test("items that begin with the typed text come first", async () => {
  expect((await labels("ti"))?.[0]).toBe("time");
  expect(await labels("pid ")).not.toContain("contains");
  expect(await labels("target cont")).toEqual(["contains"]);
});

test("rules and findings are suggested", async () => {
  asked.length = 0;
  expect(await labels("rout")).toEqual(["routine"]);
  expect(await labels("finding")).toEqual(["finding", "finding.level"]);
  expect(await labels("finding.level ")).toEqual(["=", "!=", ">", ">=", "<", "<=", "in", "not in"]);
  for (const field of ["routine", "finding", "finding.level", "technique"])
    expect((await suggest(`${field} = `, field.length + 3, source))?.items).toMatchObject([
      { label: "true", insert: "true", detail: "any" },
      { label: "A shell⟨202E⟩", insert: "'A shell\u202E'" },
    ]);
  expect(asked).toEqual(["routine", "finding", "finding.level", "technique"]);
});

test("a process is suggested by what the reader types, and inserted by its id", async () => {
  asked.length = 0;
  expect(await labels("und")).toEqual(["under"]);
  for (const [text, from] of [
    ["type = a and under(", 19],
    ['not only("sh -c', 9],
  ] as const)
    expect(await suggest(text, text.length, source)).toMatchObject({
      from,
      items: [{ label: "⟨202E⟩sh 7", detail: "sh -c x", insert: '"42")' }],
    });
  expect((await suggest("under()", 6, source))?.items[0]?.insert).toBe('"42"');
  await labels("process = 'under("); // a text
  expect(asked).toEqual(["", "sh -c", "", "process"]);
});

test("values are quoted as needed, and shown without hidden characters", async () => {
  const found = await suggest("process = ", 10, source);
  expect(found?.from).toBe(10);
  expect(found?.items.map(({ label, insert }) => [label, insert])).toEqual([
    ["curl", "curl"],
    ["it's a ⟨202E⟩txt.exe", "'it''s a \u202Etxt.exe'"],
    ["<img src=x>", "'<img src=x>'"],
  ]);
});

test("an unclosed string is replaced with its quote", async () => {
  const found = await suggest("process = 'cu", 13, source);
  expect(found).toMatchObject({ from: 10, items: [{ insert: "curl" }] });
});

test("parts of a target come from their facets", async () => {
  asked.length = 0;
  for (const text of ["target = ", "target contains ", "target endswith ", "time > "]) await labels(text);
  expect(asked).toEqual(["target", "host", "extension"]);
});

test("paths are those of the types that the filter names", async () => {
  expect(await labels("type = a and data.of")).toEqual(["data.of.a"]);
  expect((await labels("data."))?.slice(0, 3)).toEqual(["data.syscall", "data.exitCode", "data.of.all"]);
});

test("the result and the error are suggested by their names, and so is any step of a path", async () => {
  expect((await labels("result"))?.[0]).toBe("data.error");
  expect(await labels("result")).toContain("data.exitCode");
  expect((await labels("err"))?.[0]).toBe("data.error");
  expect((await labels("syscall"))?.[0]).toBe("data.syscall");
  expect((await labels("data.err"))?.[0]).toBe("data.error");
});

test("values of the data are suggested as they must be written, the most frequent first", async () => {
  asked.length = 0;
  const found = await suggest("data.error = ", 13, source);
  expect(asked).toEqual(["data.error"]);
  expect(found?.items.map(({ label, insert }) => [label, insert])).toEqual([
    ["ENOENT", "'ENOENT'"],
    ["EACCES", "'EACCES'"],
    ["-2", "-2"],
    ["a␀ b", "'a\ufffd b'"],
  ]);
  expect(await labels("data.error = EN")).toEqual(["ENOENT"]);
});
