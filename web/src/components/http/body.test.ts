import { expect, test } from "vitest";
import { imageType, readBody, readForm } from "./body";

test("bodies are read from text and from base64", () => {
  expect(readBody({ type: "text", content: "é", size: 900, truncated: true })).toMatchObject({
    text: "é",
    size: 900,
    truncated: true,
  });
  expect(readBody({ type: "binary", content_b64: "aGk=" })).toMatchObject({
    text: "hi",
    size: 2,
    truncated: false,
  });
  expect(readBody({ type: "binary", content_b64: "AP8=" })?.text).toBeUndefined();
});

test.each([null, undefined, "x", {}, { content: "" }, { content_b64: "%%%" }, { content_b64: 7 }])(
  "%j is no body",
  (value) => expect(readBody(value)).toBeUndefined(),
);

test("images are detected by their bytes alone, and SVG is excluded", () => {
  const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
  expect(imageType(bytes("\x89PNG\r\n\x1a\n...."))).toBe("image/png");
  expect(imageType(bytes("RIFF....WEBPVP8 "))).toBe("image/webp");
  expect(imageType(bytes("<svg onload=alert(1)>"))).toBeUndefined();
  expect(imageType(bytes("RIFF....WAVE"))).toBeUndefined();
  expect(imageType(new Uint8Array())).toBeUndefined();
});

test("forms are read, and other text is not", () => {
  expect(readForm("a=1&b=two+words&c=%E2%9C%93")).toEqual([
    ["a", "1"],
    ["b", "two words"],
    ["c", "✓"],
  ]);
  for (const text of ["", "plain", '{"a":"b=c"}', "a = b"]) expect(readForm(text)).toBeUndefined();
});
