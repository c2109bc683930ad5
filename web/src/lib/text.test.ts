import { expect, test } from "vitest";
import { cutText, plainText, safeFileName, showHidden } from "./text";

test.each([
  ["a right-to-left override", "evil\u202Etxt.exe", "evil⟨202E⟩txt.exe"],
  ["a terminal escape", "\u001b[31mred", "␛[31mred"],
  ["a NUL", "a\0b", "a␀b"],
  ["a zero-width space", "pay\u200bpal", "pay⟨200B⟩pal"],
  ["a lone surrogate", "caf\udce9", "caf⟨DCE9⟩"],
  ["a tag of the plane of tags", "x\u{e0041}", "x⟨E0041⟩"],
])("%s is made visible", (_, text, shown) => expect(plainText(text)).toBe(shown));

test("harmless text of any script stays one part", () => {
  for (const text of ["C:\\Users\\a.txt", "Привет", "漢字", "مرحبا", "👩🏽 é"]) {
    expect(showHidden(text)).toEqual([{ text }]);
  }
  expect(showHidden("")).toEqual([]);
});

test("long text is cut between characters", () => {
  expect(cutText("ab😀", 3)).toEqual({ text: "ab", isCut: true });
  expect(plainText("x".repeat(10_000_000)).length).toBe(501);
});

test.each([
  ["../../etc/passwd", "passwd"],
  ["C:\\temp\\a.txt", "a.txt"],
  ["gpj\u202E.exe", "gpj_.exe"],
  ["a<b>:c", "a_b__c"],
  ["...", "file"],
  ["", "file"],
  ["CON.exe", "_CON.exe"],
  ["com¹", "_com¹"],
  ["NUL .txt", "_NUL .txt"],
  ["console.log", "console.log"],
  ["trailing.exe. .", "trailing.exe"],
])("%j is saved as %s", (name, safe) => expect(safeFileName(name)).toBe(safe));
