// @vitest-environment node
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { list, listFile, texts, textsOf } from "../scripts/texts";

const all = texts();

/** Words that the dashboard does not use, and those that it uses instead. */
const instead: readonly [RegExp, string][] = [
  [/\bis like that\b|\bno .* match(es)?\b/i, "No matching …"],
  [/\bonly these\b|\ball but these\b|\bfilter (in|out)\b/i, "Include, Exclude"],
  [/\bits events\b.*\btable\b|\bsee the events\b/i, "Show events"],
  [/\bseen for\b|\blived\b/i, "Lifetime"],
  [/\b(this|other|far|near) end\b(?! cannot)|\bpeer\b/i, "Local, Remote"],
  [/\bas the system\b|\bautomatic theme\b/i, "System"],
  [/^The API$/, "API docs"],
  [/\bagent\b.*\b(is|was) (away|gone|down)\b|\bno agent\b(?! reported)/i, "Agent offline"],
  [/\bnot known\b|\bnobody knows\b/i, "unknown"],
  [/\bbackend\b.*\b(away|gone)\b/i, "unreachable"],
];

test("texts.txt has all texts; npm run texts writes it", () => {
  expect(readFileSync(listFile, "utf8")).toBe(list());
});

test("the texts use the words of the product", () => {
  const found = all.flatMap(({ file, line, text }) =>
    instead.flatMap(([words, other]) => (words.test(text) ? [`${file}:${line} ${text} (${other})`] : [])),
  );
  expect(found).toEqual([]);
});

test("a count and its noun come from plural()", () => {
  // These counts are constants above 1.
  const constant = ["The table has … columns of data.", "From the first … events with this file."];
  const nouns =
    /… (events?|process(es)?|sessions?|files?|calls?|requests?|packets?|bytes?|rows?|matches|times)\b/;
  const found = all.filter(
    ({ text }) =>
      (nouns.test(text) || /… columns/.test(text)) && !constant.some((one) => text.startsWith(one)),
  );
  expect(found).toEqual([]);
});

test("texts are found in elements, attributes, constants and templates", () => {
  const code = `
    const names = { up: "Agent online", className: "flex Gap none" };
    export const A = () => (
      <p className="Not this one" title={isUp ? "It is up" : \`Since \${time} it is down\`}>
        {count} events <b>in all</b>
        {hidden && "A text"}
      </p>
    );
    notify("The link was copied");`;
  expect(textsOf("a.tsx", code).map(({ line, text }) => `${line} ${text}`)).toEqual([
    "2 Agent online",
    "4 … events … …",
    "5 in all",
    "6 A text",
    "4 It is up",
    "4 Since … it is down",
    "9 The link was copied",
  ]);
});
