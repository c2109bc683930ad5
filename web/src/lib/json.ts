/**
 * Lazy, exact JSON. JSON.parse rounds integers beyond 2^53, drops duplicate keys, and
 * builds a whole value, which may be 10 MB. Here a value is a range of the text, and its
 * contents are parsed on demand.
 */
export type JsonKind = "object" | "array" | "string" | "number" | "true" | "false" | "null";

/** A value, from inclusive to exclusive in the text. */
export interface JsonValue {
  kind: JsonKind;
  from: number;
  to: number;
}

export interface JsonEntry {
  /** The key in an object, or the index in an array. */
  key: string | number;
  value: JsonValue;
}

/** Returns the value of a JSON text; throws a SyntaxError if the text is not JSON. */
export function jsonRoot(text: string): JsonValue {
  const from = skipSpace(text, 0);
  const root = valueAt(text, from);
  if (skipSpace(text, root.to) !== text.length) throw fault(root.to);
  return root;
}

/** Returns the entries of an object or array in order, at most limit of them. */
export function jsonEntries(
  text: string,
  value: JsonValue,
  limit = Number.POSITIVE_INFINITY,
): { entries: JsonEntry[]; hasMore: boolean } {
  const entries: JsonEntry[] = [];
  if (value.kind !== "object" && value.kind !== "array") return { entries, hasMore: false };
  let at = skipSpace(text, value.from + 1);
  while (at < value.to - 1) {
    if (entries.length >= limit) return { entries, hasMore: true };
    let key: string | number = entries.length;
    if (value.kind === "object") {
      if (text[at] !== '"') throw fault(at);
      const end = stringEnd(text, at);
      key = said(text.slice(at, end));
      at = skipSpace(text, end);
      if (text[at] !== ":") throw fault(at);
      at = skipSpace(text, at + 1);
    }
    const inner = valueAt(text, at);
    entries.push({ key, value: inner });
    at = skipSpace(text, inner.to);
    if (text[at] === ",") at = skipSpace(text, at + 1);
    else if (at < value.to - 1) throw fault(at);
  }
  return { entries, hasMore: false };
}

/** Returns the value at a path. Of duplicate keys the last one counts, as in filters. */
export function jsonAt(
  text: string,
  value: JsonValue,
  steps: readonly (string | number)[],
): JsonValue | undefined {
  let at: JsonValue | undefined = value;
  for (const step of steps) {
    if (!at || (at.kind === "array") !== (typeof step === "number")) return undefined;
    at = jsonEntries(text, at).entries.findLast((entry) => entry.key === step)?.value;
  }
  return at;
}

/** Decodes a string, at most limit characters of its source. */
export function jsonString(text: string, value: JsonValue, limit = Number.POSITIVE_INFINITY): string {
  const { from, to } = value;
  if (to - from - 2 <= limit) return said(text.slice(from, to));
  const end = from + 1 + limit;
  let cut = from + 1;
  // Do not cut within an escape.
  for (let at = text.indexOf("\\", cut); at >= 0 && at < end; at = text.indexOf("\\", cut)) {
    const next = at + (text[at + 1] === "u" ? 6 : 2);
    if (next > end) return said(`${text.slice(from, at)}"`);
    cut = next;
  }
  return said(`${text.slice(from, end)}"`);
}

/** A value for display: a string decoded, any other value as its source. */
export function jsonPlain(text: string, value: JsonValue): string {
  return value.kind === "string" ? jsonString(text, value) : text.slice(value.from, value.to);
}

function valueAt(text: string, from: number): JsonValue {
  switch (text[from]) {
    case '"':
      return { kind: "string", from, to: stringEnd(text, from) };
    case "{":
      return { kind: "object", from, to: containerEnd(text, from) };
    case "[":
      return { kind: "array", from, to: containerEnd(text, from) };
  }
  scalar.lastIndex = from;
  const word = scalar.exec(text)?.[0];
  if (word === undefined) throw fault(from);
  const kind = word === "true" || word === "false" || word === "null" ? word : "number";
  return { kind, from, to: from + word.length };
}

const scalar = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null/y;
const structure = /["{}[\]]/g;

function containerEnd(text: string, from: number): number {
  let depth = 0;
  structure.lastIndex = from;
  for (let match = structure.exec(text); match; match = structure.exec(text)) {
    const character = match[0];
    if (character === '"') structure.lastIndex = stringEnd(text, match.index);
    else if (character === "{" || character === "[") depth++;
    else if (--depth === 0) return match.index + 1;
  }
  throw fault(text.length);
}

/** The end of the string that begins at from: the first quote after an even number of backslashes. */
function stringEnd(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let before = at;
    while (text[before - 1] === "\\") before--;
    if ((at - before) % 2 === 0) return at + 1;
  }
  throw fault(text.length);
}

function skipSpace(text: string, from: number): number {
  let at = from;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at;
    at++;
  }
}

function said(written: string): string {
  return written.includes("\\") ? (JSON.parse(written) as string) : written.slice(1, -1);
}

function fault(at: number): SyntaxError {
  return new SyntaxError(`Not valid JSON at character ${at}`);
}
