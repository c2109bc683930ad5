import { expect, test } from "vitest";
import { kindOf, kinds, typesOf } from "./kind";

test("any type has a kind", () => {
  expect(kindOf("file_operation").kind).toBe("file");
  for (const type of ["", "odd", "__proto__", "constructor", "toString"])
    expect(kindOf(type).kind).toBe("other");
});

test("events about the monitoring itself have a kind", () => {
  const types = [
    "session_start",
    "session_end",
    "clock_step",
    "exclusions_changed",
    "program_paused",
    "events_left_out",
    "tls_unseen",
  ];
  expect(types.map((type) => kindOf(type).kind)).toEqual(types.map(() => "monitor"));
  expect(typesOf("monitor")).toEqual(types);
});

test("each kind has a letter of its own", () => {
  const letters = Object.values(kinds).map(({ letter }) => letter);
  expect(new Set(letters).size).toBe(letters.length);
});
