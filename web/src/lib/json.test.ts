import { expect, test } from "vitest";
import { type JsonValue, jsonAt, jsonEntries, jsonPlain, jsonRoot, jsonString } from "./json";

/** Builds the result of JSON.parse from the lazy values. */
function build(text: string, value: JsonValue): unknown {
  const { entries } = jsonEntries(text, value);
  switch (value.kind) {
    case "array":
      return entries.map((entry) => build(text, entry.value));
    case "object":
      return Object.fromEntries(entries.map((entry) => [entry.key, build(text, entry.value)]));
    case "string":
      return jsonString(text, value);
    default:
      return JSON.parse(text.slice(value.from, value.to));
  }
}

/** A pseudo-random value; the sequence is the same in every run. */
function anything(next: () => number, depth: number): unknown {
  const strings = ["", 'q"\\', "\\\\", "]}", "\u0000", "\udce9", "😀", "\u202e", "</script>", "a:b,c"];
  const kind = next() % (depth > 4 ? 4 : 6);
  if (kind === 0) return next() / 8 - 1e5;
  if (kind === 1) return strings[next() % strings.length];
  if (kind === 2) return [true, false, null][next() % 3];
  if (kind === 3) return next() % 2 ? {} : [];
  const inner = Array.from({ length: next() % 5 }, () => anything(next, depth + 1));
  if (kind === 4) return inner;
  return Object.fromEntries(inner.map((value, i) => [`${strings[next() % strings.length]}${i}k`, value]));
}

test("any JSON is read as by JSON.parse, with any white space", () => {
  let state = 12345;
  const next = () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state >> 8;
  };
  for (let i = 0; i < 500; i++) {
    const value = anything(next, 0);
    for (const space of [0, 1, "\t"]) {
      const text = JSON.stringify(value, null, space);
      expect(build(text, jsonRoot(text))).toEqual(JSON.parse(text));
    }
  }
});

test("numbers, surrogates and duplicate keys stay as written", () => {
  const text = ' {"n":12345678901234567890, "e":1e400,"s":"caf\\udce9\\u0000","n" : -0.10 } ';
  const root = jsonRoot(text);
  const { entries } = jsonEntries(text, root);
  expect(entries.map((entry) => [entry.key, jsonPlain(text, entry.value)])).toEqual([
    ["n", "12345678901234567890"],
    ["e", "1e400"],
    ["s", "caf\udce9\0"],
    ["n", "-0.10"],
  ]);
  const last = jsonAt(text, root, ["n"]);
  expect(last && jsonPlain(text, last)).toBe("-0.10");
  expect(jsonAt(text, root, ["s", "x"])).toBeUndefined();
});

test("a long string is decoded to a limit that cuts no escape", () => {
  const text = '"ab\\u202e\\\\\\"z"';
  const root = jsonRoot(text);
  const found = Array.from({ length: 14 }, (_, limit) => jsonString(text, root, limit));
  for (const part of found) expect('ab\u202e\\"z'.startsWith(part)).toBe(true);
  expect(found[7]).toBe("ab");
  expect(found[8]).toBe("ab\u202e");
});

test("10 MB are read in time", () => {
  const text = `{"long":"${"x".repeat(10_000_000)}","list":[${"1,".repeat(999_999)}1]}`;
  const root = jsonRoot(text);
  const list = jsonAt(text, root, ["list"]);
  const long = jsonAt(text, root, ["long"]);
  expect(list && jsonEntries(text, list, 100)).toMatchObject({ hasMore: true });
  expect(long && jsonString(text, long, 50)).toBe("x".repeat(50));
});

test.each(["", "{", '"a', '{"a" 1}', "{1:2}", "[1 2]", "1 2", "nul", '{"a":}'])("%j is not JSON", (text) => {
  expect(() => build(text, jsonRoot(text))).toThrow(SyntaxError);
});
