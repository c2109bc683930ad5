import { expect, test } from "vitest";
import { jsonRoot } from "@/lib/json";
import { findBytes, lineStarts, wantedBytes } from "./byte-search";
import { bytesOf, contentsOf } from "./contents";

const utf8 = (text: string) => new TextEncoder().encode(text);

function contents(data: unknown) {
  const text = JSON.stringify(data);
  return contentsOf(text, jsonRoot(text)).map((content) => ({ ...content, bytes: bytesOf(text, content) }));
}

test("contents come first, decoded; other strings are text", () => {
  const found = contents({
    filePath: "/tmp/a-much-longer-name-than-the-content-has",
    content: "4d 5A 00",
    response: { body: { content_b64: "AAEC" } },
  });
  expect(found.map(({ label, encoding, bytes }) => [label, encoding, [...bytes].slice(0, 3)])).toEqual([
    ["response.body.content_b64", "base64", [0, 1, 2]],
    ["content", "hex", [0x4d, 0x5a, 0]],
    ["filePath", "text", [...utf8("/tm")]],
  ]);
});

test("text that only looks encoded is shown unchanged", () => {
  const [cut] = contents({ content: "<data too large: 99 bytes>" });
  expect(cut?.encoding).toBe("text");
  const [odd] = contents({ content: `${"41 ".repeat(200)}zz` });
  expect(odd?.bytes).toEqual(utf8(`${"41 ".repeat(200)}zz`));
  expect(contents({ content_b64: "<script>" })[0]?.bytes).toEqual(utf8("<script>"));
});

test("bytes are found; text search ignores case", () => {
  const bytes = utf8("abcABCab\0c");
  expect(findBytes(bytes, utf8("ABC"), true).places).toEqual([0, 3]);
  expect(findBytes(bytes, utf8("ABC"), false).places).toEqual([3]);
  expect(findBytes(bytes, wantedBytes("62 00", true) ?? utf8("?"), false).places).toEqual([7]);
  expect(findBytes(bytes, new Uint8Array(), true).places).toEqual([]);
  expect(wantedBytes("zz", true)).toBeUndefined();
  expect(findBytes(new Uint8Array(20_000), new Uint8Array(1), false)).toMatchObject({ hasMore: true });
});

test("lines begin after line feeds and are never too long, nor cut within a character", () => {
  const text = `one\ntwo\n${"é".repeat(500)}\n`;
  const bytes = utf8(text);
  const starts = [...lineStarts(bytes), bytes.length];
  const lines = starts.slice(1).map((end, i) => new TextDecoder().decode(bytes.subarray(starts[i], end)));
  expect(lines.join("")).toBe(text);
  expect(lines.slice(0, 2)).toEqual(["one\n", "two\n"]);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
});
