import { expect, test } from "vitest";
import { addCondition, and, condition, dataPath, equals, notEquals, quote } from "./filter";

test("values are quoted so that nothing in them is interpreted", () => {
  expect(quote("it's a*b\\")).toBe("'it''s a*b\\'");
  expect(equals("pid", 4)).toBe("pid = 4");
  expect(equals("process", null)).toBe("not exists process");
  expect(notEquals("type", "a")).toBe("not type = 'a'");
});

test("filters are joined so that each keeps its meaning", () => {
  expect(and("", undefined, "pid = 4")).toBe("pid = 4");
  expect(and("a or b", "pid = 4")).toBe("(a or b) and pid = 4");
  expect(and("a || b", "c")).toBe("(a || b) and c");
  expect(addCondition("pid = 4", "pid = 4")).toBe("pid = 4");
  expect(addCondition("type = x and pid = 4", "pid = 4")).toBe("type = x and pid = 4");
});

test("paths name any key", () => {
  expect(dataPath(["request", "headers", "user agent", 0, 'a"b'])).toBe(
    'data.request.headers["user agent"][0]["a\\"b"]',
  );
});

test("a condition can be written for any value", () => {
  expect(condition("pid", 4)).toBe("pid = 4");
  expect(condition("target", null, true)).toBe("exists target");
  expect(condition("target", "a\0\udce9'", true)).toBe("not target = 'a\ufffd\ufffd'''");
  expect(condition("data.n", { number: "12345678901234567890" })).toBe("data.n = 12345678901234567890");
  expect(condition("target", "x".repeat(5000), true)).toBe(`not target startswith '${"x".repeat(1000)}'`);
});
