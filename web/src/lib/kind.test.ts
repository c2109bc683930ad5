import { expect, test } from "vitest";
import { kindOf } from "./kind";

test("types are of a kind, whatever they are called", () => {
  expect(kindOf("file_operation").kind).toBe("file");
  for (const type of ["", "odd", "__proto__", "constructor", "toString"])
    expect(kindOf(type).kind).toBe("other");
});
