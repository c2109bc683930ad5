import { expect, test } from "vitest";
import { splitWords } from "./words";

test.each([
  ["", []],
  ["  -v  --out=a b ", ["-v", "--out=a", "b"]],
  [`'a b' "c d" ''`, ["a b", "c d", ""]],
  [`it\\'s a\\ b`, ["it's", "a b"]],
  [`"a\\"b\\\\c\\d"`, ['a"b\\c\\d']],
  [`'a\\b' $HOME *`, ["a\\b", "$HOME", "*"]],
  [`pre'mid'post`, ["premidpost"]],
  ["tail\\", ["tail\\"]],
])("%s", (line, words) => expect(splitWords(line)).toEqual(words));

test("an unclosed quote is an error", () => {
  expect(splitWords("'a b")).toBeUndefined();
  expect(splitWords('a "')).toBeUndefined();
});
