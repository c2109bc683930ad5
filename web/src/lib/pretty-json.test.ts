import { expect, test } from "vitest";
import { prettyJSON } from "./pretty-json";

test("JSON is indented, and its tokens do not change", () => {
  expect(prettyJSON('{"a":[1,{}],"big":12345678901234567890,"e":"\\u202e{,}"}')).toBe(
    '{\n  "a": [\n    1,\n    {}\n  ],\n  "big": 12345678901234567890,\n  "e": "\\u202e{,}"\n}',
  );
});

test("truncated JSON is indented as far as possible, and other text is refused", () => {
  expect(prettyJSON('{"a":"cut of')).toBe('{\n  "a": "cut of');
  expect(prettyJSON("]]]]")).toBeUndefined();
  expect(prettyJSON("[]]]")).toBe("[]\n]\n]");
  expect(prettyJSON("a=b")).toBeUndefined();
});

test("every value keeps its meaning", () => {
  const value = { list: [1, [], [[2]], null, true], text: 'quote " and \\ and \n', nested: { a: { b: {} } } };
  expect(JSON.parse(prettyJSON(JSON.stringify(value)) ?? "")).toEqual(value);
});
