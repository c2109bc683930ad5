import { expect, test } from "vitest";
import {
  conditionsOf,
  faultOf,
  operatorsOf,
  pathsOf,
  placeAt,
  tokenize,
  typeClause,
  unquoted,
  withoutCondition,
  withTypes,
  writeValue,
} from "./filter-language";

const shape = (text: string) => tokenize(text).map((token) => `${token.kind} ${token.text}`);

test.each([
  ["type = x", ["field type", "comparison =", "word x"]],
  [
    "pid in (1,2) and not op: ReadFile",
    [
      "field pid",
      "comparison in",
      "bracket (",
      "number 1",
      "comma ,",
      "number 2",
      "bracket )",
      "keyword and",
      "keyword not",
      "field op",
      "comparison :",
      "word ReadFile",
    ],
  ],
  [
    "process: (a.exe or b*)",
    ["field process", "comparison :", "bracket (", "word a.exe", "keyword or", "word b*", "bracket )"],
  ],
  [String.raw`target: C:\Users\*.exe`, ["field target", "comparison :", String.raw`word C:\Users\*.exe`]],
  ["http://a/?b=c 10.0.0.5:443", ["word http://a/?b=c", "word 10.0.0.5:443"]],
  ["order and android", ["word order", "keyword and", "word android"]],
  ['data.a["b c"][0] >= -1.5e3', ['field data.a["b c"][0]', "comparison >=", "number -1.5e3"]],
  ['target not like "a b', ["field target", "comparison not like", 'string "a b']],
  ["exists pid", ["keyword exists", "field pid"]],
  [
    'under("42") under (x)',
    [
      "keyword under",
      "bracket (",
      'string "42"',
      "bracket )",
      "word under",
      "bracket (",
      "word x",
      "bracket )",
    ],
  ],
  ["!a || 'it''s'", ["keyword !", "word a", "keyword ||", "string 'it''s'"]],
])("%s is split into tokens", (text, parts) => expect(shape(text)).toEqual(parts));

test("any text is split quickly, with no gaps but spaces", () => {
  for (const text of [
    "((((",
    ")))",
    "a,b",
    '"',
    "= : <",
    "\u0000\ud800",
    `data${'["'.repeat(2000)}`,
    "a.".repeat(4000),
    "'\\".repeat(4000),
  ]) {
    const began = process.cpuUsage(); // of this process: other programs may be busy
    const tokens = tokenize(text);
    expect(process.cpuUsage(began).user).toBeLessThan(500_000); // microseconds
    let rest = text;
    for (const token of tokens.reverse()) rest = rest.slice(0, token.from) + rest.slice(token.to);
    expect(rest.trim()).toBe("");
  }
});

test.each([
  ["", "condition", ""],
  ["pro", "condition", "pro"],
  ["data.re", "condition", "data.re"],
  ["exists da", "condition", "da"],
  ["type = x and ", "condition", ""],
  ["(", "condition", ""],
  ["process ", "comparison", ""],
  ["process cont", "comparison", "cont"],
  ["process = ", "value", ""],
  ["process =cu", "value", "cu"],
  ["process = 'a b", "value", "a b"],
  ["process in (a, ", "value", ""],
  ["process: (a or ", "value", ""],
  ["process in (a) ", "joint", ""],
  ["type = 'x'", "joint", ""],
  ["type = x ", "joint", ""],
  ["evil.exe ", "joint", ""],
])("at the end of %j a %s is expected", (text, wants, typed) => {
  expect(placeAt(text, text.length)).toMatchObject({ wants, typed });
});

test("values are quoted only where they must be, and read back", () => {
  expect(writeValue("pid", "4")).toBe("4");
  expect(writeValue("process", "curl")).toBe("curl");
  expect(writeValue("process", "and")).toBe("'and'");
  for (const value of ["it's", "a b", "x*", 'say "hi"', "a,b", "\\\\s\\"]) {
    const [token] = tokenize(`process = ${writeValue("process", value)}`).slice(-1);
    expect(token?.kind).toBe(value === "\\\\s\\" ? "word" : "string");
    expect(unquoted(token?.text ?? "")).toBe(value);
  }
});

test("operators fit the field", () => {
  const of = (field: string) => operatorsOf(field).map((operator) => operator.text);
  expect(of("pid")).not.toContain("contains");
  expect(of("type")).not.toContain(">");
  expect(of("time")).not.toContain("in");
  expect(of("data.a")).toEqual(expect.arrayContaining([">", "contains", "in"]));
});

test("a fault is found in the text, by characters", () => {
  expect(faultOf('filter, column 3: unknown field "proces"', "👩 proces = x")).toEqual({
    from: 3,
    to: 9,
    text: 'unknown field "proces"',
    isUnfinished: false,
  });
  expect(faultOf("filter, column 7: expected a value, found the end", "type =")).toMatchObject({
    from: 6,
    to: 6,
    isUnfinished: true,
  });
  expect(faultOf("no such session", "x")).toBeUndefined();
});

test.each([
  ["", ["a"], "type = a"],
  ["type = a", ["a", "b"], "type in (a, b)"],
  ["type = a", [], ""],
  ["type in (a, 'b c') and pid = 4", ["a"], "type = a and pid = 4"],
  ["pid = 4 and type: (a or b) and curl", [], "pid = 4 and curl"],
  ["pid = 4 and type = a", [], "pid = 4"],
  ["a or b", ["x"], "type = x and (a or b)"],
  ["not type = a", ["b"], "type = b and not type = a"],
  ["type: a*", ["b"], "type = b and type: a*"],
])("%j for the types %j is %j", (filter, types, wanted) => expect(withTypes(filter, types)).toBe(wanted));

test("only a clause that every event must meet counts", () => {
  expect(typeClause("pid = 1 and type in (a, b)")?.types).toEqual(["a", "b"]);
  for (const filter of [
    "type = a or pid = 1",
    "(type = a)",
    "not type = a",
    "type != a",
    "type: (a and b)",
    "type in (a",
  ])
    expect(typeClause(filter)).toBeUndefined();
});

test("paths name the values in data", () => {
  const paths = pathsOf({ a: { "b c": 1 }, list: [{ x: null }, { y: 1 }], t: "s" });
  expect(paths).toEqual([
    { path: "data.t", type: "text" },
    { path: 'data.a["b c"]', type: "number" },
    { path: "data.list[0].x", type: "null" },
  ]);
  expect(pathsOf(null)).toEqual([]);
  expect(pathsOf(Array.from({ length: 5 }, () => 1))).toHaveLength(1);
});

const conditions = (filter: string) => conditionsOf(filter).map(({ from, to }) => filter.slice(from, to));

test.each([
  ["", []],
  ["  type = x ", ["type = x"]],
  ["type = x  and not pid in (1, 2) && evil", ["type = x", "not pid in (1, 2)", "evil"]],
  ["evil.exe type: y 'and' exists pid low", ["evil.exe", "type: y", "'and'", "exists pid", "low"]],
  ["pid: (1 or 2) and (a or b) and !(c)", ["pid: (1 or 2)", "(a or b)", "!(c)"]],
  [
    'under("42") and not only(7) and data["a and b"] = "c and d"',
    ['under("42")', "not only(7)", 'data["a and b"] = "c and d"'],
  ],
  // One condition: what is joined by "or", and what is not finished or not correct.
  ["a and b or c = d", ["a and b or c = d"]],
  ["a and pid =", ["a and pid ="]],
  ["a and (b or c", ["a and (b or c"]],
  ["a ) and b", ["a ) and b"]],
  ["not", ["not"]],
])("%s has its conditions", (filter, expected) => expect(conditions(filter)).toEqual(expected));

test.each([
  ["type = x  and  pid=1 and 'a  b'", 0, "pid=1 and 'a  b'"],
  ["type = x  and  pid=1 and 'a  b'", 1, "type = x and 'a  b'"],
  ["type = x  and  pid=1 and 'a  b'", 2, "type = x  and  pid=1"],
  ["evil type: y", 0, "type: y"],
  ["evil type: y", 1, "evil"],
  [" a or b ", 0, ""],
])("%s loses only its condition %i", (filter, index, expected) =>
  expect(withoutCondition(filter, conditionsOf(filter), index)).toBe(expected),
);
