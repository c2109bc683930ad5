import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import type { DataColumn } from "./columns";
import { dataCell, fieldValue } from "./value";

function ask(json: string, isCut = false) {
  const path: DataColumn = "data.x";
  const fields = json === "" ? {} : { [path]: JSON.parse(json) };
  const event = { fields, fields_cut: isCut ? [path] : undefined } as unknown as ListedEvent;
  const cell = dataCell(event, path);
  const value = fieldValue(event, path);
  return [
    cell && `${cell.isRounded ? "≈ " : ""}${cell.text}`,
    value?.conditionOf(false),
    value?.conditionOf(true),
  ];
}

test.each([
  ['"it\'s"', "it's", "data.x = 'it''s'", "not data.x = 'it''s'"],
  ["200", "200", "data.x = 200", "not data.x = 200"],
  ['"200"', "200", "data.x = '200'", "not data.x = '200'"],
  ["true", "true", "data.x = true", "not data.x = true"],
  ["null", "null", "data.x = null", "not data.x = null"],
  ["", null, "not exists data.x", "exists data.x"],
  ['{"a":[1]}', '{"a":[1]}', "exists data.x", "not exists data.x"],
  ["0.1", "0.1", "data.x = 0.1", "not data.x = 0.1"],
])("%s of the data is shown, and is a condition", (json, ...expected) => {
  expect(ask(json)).toEqual(expected);
});

test("a number that the page may have rounded says so, and is no condition", () => {
  expect(ask("12345678901234567891")).toEqual([
    "≈ 12345678901234567000",
    "exists data.x",
    "not exists data.x",
  ]);
  expect(ask("0.12345678901234567")[0]).toBe(`≈ ${Number("0.12345678901234567")}`);
  expect(ask('{"a":9007199254740993}')[0]).toBe('≈ {"a":9007199254740992}');
  expect(ask("9007199254740991")[1]).toBe("data.x = 9007199254740991");
});

test("a value that the backend cut is found by its beginning", () => {
  expect(ask('"begin"', true)).toEqual([
    "begin…",
    "data.x startswith 'begin'",
    "not data.x startswith 'begin'",
  ]);
  expect(ask("", true)).toEqual(["…", "exists data.x", "not exists data.x"]);
});
