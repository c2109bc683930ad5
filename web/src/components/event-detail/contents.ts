import { bytesFromBase64, bytesFromHex } from "@/lib/bytes";
import { type JsonValue, jsonEntries, jsonString } from "@/lib/json";

/** A string of an event that can be viewed as bytes. */
export interface Content {
  /** The path in the data, such as request.body.content_b64. */
  label: string;
  value: JsonValue;
  /** The encoding, guessed from the name and the beginning. */
  encoding: "hex" | "base64" | "text";
}

const maxContents = 200;
const maxVisited = 5000;
const likely = /content|body|data|payload|info/i;

/** The strings in data: contents first, then the others by length. */
export function contentsOf(text: string, data: JsonValue): Content[] {
  const found: Content[] = [];
  let visited = 0;
  const visit = (value: JsonValue, path: string, name: string) => {
    if (visited++ > maxVisited) return;
    if (value.kind === "string" && value.to - value.from > 2)
      found.push({ label: path || "data", value, encoding: encodingOf(text, value, name) });
    for (const { key, value: inner } of jsonEntries(text, value, maxVisited).entries)
      visit(inner, typeof key === "number" ? `${path}[${key}]` : path ? `${path}.${key}` : key, String(key));
  };
  visit(data, "", "");
  const rank = (content: Content) =>
    (content.encoding === "text" ? 0 : 2) +
    (likely.test(content.label) ? 1 : 0) +
    (content.label.startsWith("response") ? 0.5 : 0) -
    (content.label.startsWith("metadata.") ? 1 : 0);
  const length = (content: Content) => content.value.to - content.value.from;
  return found.sort((a, b) => rank(b) - rank(a) || length(b) - length(a)).slice(0, maxContents);
}

function encodingOf(text: string, value: JsonValue, name: string): Content["encoding"] {
  const start = jsonString(text, value, 300);
  if (/(_b64|base64)$/i.test(name)) return "base64";
  // Agents write contents as spaced hex, packets their info without spaces.
  if (/^[0-9a-f]{2}(\s[0-9a-f]{2})*\s?[0-9a-f]?$/i.test(start) && /content/i.test(name)) return "hex";
  if (name === "info" && /^([0-9a-f]{2})+[0-9a-f]?$/i.test(start)) return "hex";
  return "text";
}

/** Decodes a content. If the guessed encoding is wrong, returns the bytes of the text. */
export function bytesOf(text: string, content: Content): Uint8Array {
  const value = jsonString(text, content.value);
  const decoded =
    content.encoding === "hex"
      ? bytesFromHex(value)
      : content.encoding === "base64"
        ? bytesFromBase64(value)
        : undefined;
  return decoded ?? new TextEncoder().encode(value);
}
