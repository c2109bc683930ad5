import { expect, test } from "vitest";
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
  paths: async (types) => [
    { path: "data.syscall", type: "text" },
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
  expect(await labels("data.")).toEqual(["data.syscall", "data.of.all"]);
});
