import { dataPath, quote } from "./filter";

/**
 * Parses the filter language while the reader types, for colors, completion and fault
 * marks. Only the backend decides whether a filter is valid. docs/filter.md has the language.
 */
type TokenKind = "field" | "comparison" | "keyword" | "string" | "number" | "word" | "bracket" | "comma";

export interface Token {
  kind: TokenKind;
  from: number;
  to: number;
  text: string;
  /** The field of a comparison or a value, as the reader wrote it. */
  field?: string;
}

type FieldType = "text" | "number" | "time" | "level" | "data";

export interface FieldInfo {
  name: string;
  other?: string;
  type: FieldType;
  about: string;
}

export const fields: readonly FieldInfo[] = [
  { name: "type", other: "event_type", type: "text", about: "type of the event" },
  { name: "operation", other: "op", type: "text", about: "ReadFile, POST, …" },
  { name: "process", other: "process_name", type: "text", about: "name of the process" },
  { name: "target", type: "text", about: "path, URL, host:port or image" },
  { name: "pid", type: "number", about: "process ID" },
  { name: "time", other: "timestamp", type: "time", about: "time of the event" },
  { name: "seq", type: "number", about: "number in the session" },
  { name: "source", type: "text", about: "program that reported the event" },
  { name: "routine", type: "text", about: "routine rules that match the event" },
  { name: "finding", type: "text", about: "findings that point to the event" },
  { name: "finding.level", type: "level", about: "their levels" },
  { name: "technique", type: "text", about: "their ATT&CK techniques" },
  { name: "data.", type: "data", about: "any value that the agent sent" },
];

/** The field with a name or alias; undefined if there is none. */
export function fieldInfo(name: string): FieldInfo | undefined {
  if (name.toLowerCase() === "finding.level") return fields.find((field) => field.type === "level");
  const first = (/^[^.[]+/.exec(name)?.[0] ?? "").toLowerCase();
  if (first === "data") return fields.at(-1);
  return fields.find((field) => field.name === first || field.other === first);
}

const processTest = /(?:under|only)(?=\()/iy;
const keywords = ["and", "or", "not", "exists", "in", "contains", "startswith", "endswith", "like"];
const space = /[ \t\r\n\u00a0]*/y;
const keyword = /[A-Za-z]+(?=[ \t\r\n\u00a0()"']|$)/y;
const name =
  /[A-Za-z_][\p{L}\p{N}_-]*(?:\.[\p{L}\p{N}_-]+|\."(?:[^"\\]|\\.)*"|\.'[^']*'|\["(?:[^"\\]|\\.)*"\]|\['[^']*'\]|\[[^\]"']*\])*/uy;
const symbol = /==|!=|<=|>=|[=:<>]/y;
const wordOperator =
  /(?:not[ \t\u00a0]+)?(?:in|contains|startswith|endswith|like)(?=[ \t\r\n\u00a0()"']|$)/iy;
const string = /"(?:[^"\\]|\\[\s\S])*(?:"|$)|'(?:[^']|'')*(?:'|$)/y;
const word = /(?:[^ \t\r\n\u00a0()"&|]|&(?!&)|\|(?!\|))+/y;
const listWord = /(?:[^ \t\r\n\u00a0()",&|]|&(?!&)|\|(?!\|))+/y;
const number = /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i;

function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/** Cuts a filter into tokens. It accepts any text: what it cannot read becomes a word. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  // The contents of each open parenthesis: conditions, a field's values, or the list of an "in".
  const open: { holds: "conditions" | "values" | "list"; field?: string }[] = [];
  let awaited: string | undefined; // the field whose value comes next
  let exists = false;
  let at = 0;
  const add = (kind: TokenKind, length: number, field?: string) => {
    tokens.push({ kind, from: at, to: at + length, text: text.slice(at, at + length), field });
    at += length;
  };
  for (;;) {
    at += matchAt(space, text, at).length;
    if (at >= text.length) return tokens;
    const inside = open.at(-1);
    const holdsValues = inside !== undefined && inside.holds !== "conditions";
    const valueField = awaited ?? (holdsValues ? inside.field : undefined);
    const next = text.charAt(at);
    const last = tokens.at(-1);
    if (next === "(") {
      const isList = awaited !== undefined && /in$/i.test(last?.text ?? "");
      open.push(
        valueField === undefined
          ? { holds: "conditions" }
          : { holds: isList ? "list" : "values", field: valueField },
      );
      awaited = undefined;
      add("bracket", 1);
    } else if (next === ")") {
      open.pop();
      awaited = undefined;
      add("bracket", 1);
    } else if (next === "," && inside?.holds === "list") {
      add("comma", 1);
    } else if (text.startsWith("&&", at) || text.startsWith("||", at)) {
      awaited = undefined;
      add("keyword", 2);
    } else if (next === "!" && valueField === undefined) {
      add("keyword", 1);
    } else if (next === '"' || next === "'") {
      const length = matchAt(string, text, at).length;
      add("string", length, valueField);
      awaited = undefined;
    } else if (isKeyword(text, at)) {
      const found = matchAt(keyword, text, at);
      exists = found.toLowerCase() === "exists";
      awaited = undefined;
      add("keyword", found.length);
      continue;
    } else if (valueField !== undefined) {
      const found = matchAt(inside?.holds === "list" ? listWord : word, text, at) || next;
      add(number.test(found) ? "number" : "word", found.length, valueField);
      awaited = undefined;
    } else {
      const test = matchAt(processTest, text, at);
      if (test !== "") {
        add("keyword", test.length);
        continue;
      }
      const field = matchAt(name, text, at);
      const comparison = field === "" ? undefined : comparisonAfter(text, at, field);
      if (exists && field !== "") add("field", field.length, field);
      else if (comparison) {
        add("field", field.length, field);
        at = comparison.from;
        add("comparison", comparison.length, field);
        awaited = field;
      } else add("word", (matchAt(word, text, at) || next).length);
    }
    exists = false;
  }
}

function isKeyword(text: string, at: number): boolean {
  const found = matchAt(keyword, text, at).toLowerCase();
  return found !== "" && keywords.includes(found);
}

function comparisonAfter(text: string, at: number, field: string) {
  const end = at + field.length;
  // The colon of a URL or a Windows path is not a comparison.
  if (/^:[/\\]/.test(text.slice(end, end + 2)) && !fieldInfo(field)) return undefined;
  const from = end + matchAt(space, text, end).length;
  const found = matchAt(symbol, text, from) || (from > end ? matchAt(wordOperator, text, from) : "");
  return found === "" ? undefined : { from, length: found.length };
}

/** What may be completed at the cursor. Its typed part begins at from. */
export type Place =
  | { wants: "condition"; from: number; typed: string }
  | { wants: "comparison"; from: number; typed: string; field: string }
  | { wants: "value"; from: number; typed: string; field: string; comparison: string }
  | { wants: "process"; from: number; typed: string }
  | { wants: "joint"; from: number; typed: string };

export function placeAt(text: string, cursor: number): Place {
  const before = text.slice(0, cursor);
  const tokens = tokenize(before);
  const last = tokens.at(-1);
  const condition = (from: number): Place => ({ wants: "condition", from, typed: before.slice(from) });
  if (!last) return condition(cursor);
  const process = /(?:under|only)\(\s*(["']?[^"'()]*)$/i.exec(before);
  if (process && tokens.some(({ kind, from }) => kind === "keyword" && from === process.index)) {
    const typed = process[1] ?? "";
    return { wants: "process", from: cursor - typed.length, typed: unquoted(typed) };
  }
  const touches = last.to === cursor;
  if (last.kind === "comparison" && last.field) {
    if (touches && /\w$/.test(last.text))
      return { wants: "comparison", from: last.from, typed: last.text, field: last.field };
    return {
      wants: "value",
      from: cursor,
      typed: "",
      field: last.field,
      comparison: last.text.toLowerCase(),
    };
  }
  const field = last.field ?? openField(tokens);
  const isOpening = last.kind === "comma" || (last.kind === "bracket" && last.text === "(");
  if (field !== undefined && last.kind !== "field") {
    const comparison =
      tokens.findLast((token) => token.kind === "comparison" && token.field === field)?.text.toLowerCase() ??
      "=";
    const isValue = last.field !== undefined;
    if (isValue && touches && !isClosed(last))
      return { wants: "value", from: last.from, typed: unquoted(last.text), field, comparison };
    if (isOpening || (last.kind === "keyword" && !touches))
      return { wants: "value", from: cursor, typed: "", field, comparison };
    return { wants: "joint", from: touches ? last.to : cursor, typed: "" };
  }
  if (last.kind === "field" && touches) return condition(last.from);
  if (isOpening) return condition(cursor);
  if (last.kind === "keyword")
    return touches && /\w/.test(last.text) ? condition(last.from) : condition(cursor);
  if (last.kind === "word" && touches) {
    const previous = tokens.at(-2);
    if (previous?.kind === "word" && fieldInfo(previous.text) && !touching(previous, last))
      return { wants: "comparison", from: last.from, typed: last.text, field: previous.text };
    return condition(last.from);
  }
  if (last.kind === "word" && fieldInfo(last.text) && last.text !== "data")
    return { wants: "comparison", from: cursor, typed: "", field: last.text };
  return { wants: "joint", from: cursor, typed: "" };
}

const touching = (a: Token, b: Token) => a.to === b.from;

function isClosed(token: Token): boolean {
  return token.kind === "string" && token.text.length > 1 && token.text.endsWith(token.text.charAt(0));
}

/** The field whose parentheses are open at the end; undefined if there is none. */
function openField(tokens: readonly Token[]): string | undefined {
  const open: (string | undefined)[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== "bracket") continue;
    if (token.text === ")") open.pop();
    else {
      const previous = tokens[index - 1];
      open.push(previous?.kind === "comparison" ? previous.field : open.at(-1));
    }
  }
  return open.at(-1);
}

/** The value of a token, without its quotes and escapes. */
export function unquoted(text: string): string {
  const mark = text.charAt(0);
  if (mark !== '"' && mark !== "'") return text;
  const inner = text.length > 1 && text.endsWith(mark) ? text.slice(1, -1) : text.slice(1);
  return mark === "'" ? inner.replaceAll("''", "'") : inner.replaceAll(/\\(["\\])/g, "$1");
}

/** Writes a value for a field, in quotes if it needs them. */
export function writeValue(field: string, value: string): string {
  const type = fieldInfo(field)?.type;
  if (type === "number" && /^-?\d+$/.test(value)) return value;
  const plain = /^[\p{L}\p{N}_./\\:-]+$/u.test(value) && !keywords.includes(value.toLowerCase());
  return plain && type !== "data" ? value : quote(value);
}

interface Operator {
  text: string;
  about: string;
}

/** The comparisons of a field. */
export function operatorsOf(field: string): readonly Operator[] {
  const equal = [
    { text: "=", about: "is" },
    { text: "!=", about: "is not" },
  ];
  const order = [
    { text: ">", about: "above" },
    { text: ">=", about: "at least" },
    { text: "<", about: "below" },
    { text: "<=", about: "at most" },
  ];
  const texts = [
    { text: "contains", about: "contains this" },
    { text: "startswith", about: "begins with" },
    { text: "endswith", about: "ends with" },
    { text: "like", about: "pattern with * and ?" },
  ];
  const list = [
    { text: "in", about: "one of several" },
    { text: "not in", about: "none of several" },
  ];
  const type = fieldInfo(field)?.type ?? "data";
  if (type === "time") return [...order, ...equal];
  if (type === "number" || type === "level") return [...equal, ...order, ...list];
  return type === "text" ? [...equal, ...texts, ...list] : [...equal, ...texts, ...order, ...list];
}

/** A fault that the backend finds in a filter, and its place. */
export interface Fault {
  from: number;
  to: number;
  text: string;
  /** Whether the filter is correct so far, but incomplete. */
  isUnfinished: boolean;
}

/** Reads "filter, column 7: unknown field …"; undefined for any other message. */
export function faultOf(message: string, filter: string): Fault | undefined {
  const match = /^filter, column (\d+): ([\s\S]+)$/.exec(message);
  if (!match?.[1] || !match[2]) return undefined;
  // The backend counts characters, this page UTF-16 units.
  const from = [...filter].slice(0, Number(match[1]) - 1).join("").length;
  const token = tokenize(filter).find((candidate) => candidate.from <= from && from < candidate.to);
  const one = String.fromCodePoint(filter.codePointAt(from) ?? 0).length;
  return {
    from,
    to: token?.from === from ? token.to : Math.min(filter.length, from + one),
    text: match[2],
    isUnfinished: from >= filter.trimEnd().length,
  };
}

/** A part of a filter, from inclusive to exclusive. */
export interface Span {
  from: number;
  to: number;
}

/**
 * The conditions that the filter joins by "and" outside of parentheses. A filter with an "or"
 * there, or with an open parenthesis, is one condition.
 */
export function conditionsOf(filter: string): Span[] {
  const tokens = tokenize(filter);
  const spans: Span[] = [];
  const isKeyword = (at: number, words: RegExp) =>
    tokens[at]?.kind === "keyword" && words.test(tokens[at].text);
  for (let at = 0; at < tokens.length; ) {
    if (isKeyword(at, /^(and|&&)$/i)) {
      at++;
      continue;
    }
    const first = tokens[at];
    while (isKeyword(at, /^(not|!)$/i)) at++;
    if (isKeyword(at, /^exists$/i)) at += 2;
    else {
      if (isKeyword(at, /^(under|only)$/i)) at++;
      else if (tokens[at]?.kind === "field") at += 2;
      if (tokens[at]?.kind === "bracket") at = groupEnd(tokens, at);
      else at = isKeyword(at, /./) ? 0 : at + 1;
    }
    const last = tokens[at - 1];
    if (!first || !last) return [{ from: tokens[0]?.from ?? 0, to: tokens.at(-1)?.to ?? 0 }];
    spans.push({ from: first.from, to: last.to });
  }
  return spans;
}

/** The place after the parenthesis that closes the one at a place; 0 if none does. */
function groupEnd(tokens: readonly Token[], at: number): number {
  let depth = 0;
  for (let end = at; end < tokens.length; end++) {
    if (tokens[end]?.kind !== "bracket") continue;
    depth += tokens[end]?.text === "(" ? 1 : -1;
    if (depth === 0) return end + 1;
    if (depth < 0) return 0;
  }
  return 0;
}

/** The filter without one of its conditions. All others stay as they were written. */
export function withoutCondition(filter: string, conditions: readonly Span[], index: number): string {
  const [previous, removed, next] = [conditions[index - 1], conditions[index], conditions[index + 1]];
  if (!removed || (!previous && !next)) return "";
  const from = previous ? previous.to : removed.from;
  const to = previous || !next ? removed.to : next.from;
  return filter.slice(0, from) + filter.slice(to);
}

interface TypeClause {
  from: number;
  to: number;
  types: string[];
}

/** The condition on types that every selected event must meet; undefined if the filter has none. */
export function typeClause(filter: string): TypeClause | undefined {
  const tokens = tokenize(filter);
  let depth = 0;
  let found: TypeClause | undefined;
  for (const [index, token] of tokens.entries()) {
    if (token.kind === "bracket") depth += token.text === "(" ? 1 : -1;
    if (depth > 0) continue;
    if (token.kind === "keyword" && /^(or|\|\|)$/i.test(token.text)) return undefined;
    if (found || token.kind !== "field" || fieldInfo(token.text)?.name !== "type") continue;
    if (/^(not|!|exists)$/i.test(tokens[index - 1]?.text ?? "")) continue;
    if (/^(==?|:|in)$/i.test(tokens[index + 1]?.text ?? "")) found = clauseOf(tokens, index);
  }
  return found;
}

function clauseOf(tokens: readonly Token[], index: number): TypeClause | undefined {
  const from = tokens[index]?.from ?? 0;
  const types: string[] = [];
  let isOpen = false;
  for (const token of tokens.slice(index + 2)) {
    if (token.kind === "bracket" && token.text === "(" && !isOpen && types.length === 0) isOpen = true;
    else if (token.kind === "bracket" && token.text === ")" && isOpen) return { from, to: token.to, types };
    else if (token.field !== undefined && !(token.kind !== "string" && /[*?[]/.test(token.text))) {
      types.push(unquoted(token.text));
      if (!isOpen) return { from, to: token.to, types };
    } else if (!isOpen || !(token.kind === "comma" || /^(or|\|\|)$/i.test(token.text))) return undefined;
  }
  return undefined;
}

/** The same filter, limited to these types; [] removes the limit. */
export function withTypes(filter: string, types: readonly string[]): string {
  const written = types.map((type) => writeValue("type", type));
  const condition =
    written.length === 0
      ? ""
      : written.length === 1
        ? `type = ${written[0]}`
        : `type in (${written.join(", ")})`;
  const clause = typeClause(filter);
  if (clause && condition !== "")
    return `${filter.slice(0, clause.from)}${condition}${filter.slice(clause.to)}`.trim();
  let rest = filter.trim();
  if (clause) {
    const before = filter.slice(0, clause.from).replace(/\s*(\band|&&)?\s*$/i, "");
    const after = filter.slice(clause.to).replace(/^\s*(and\b|&&)?\s*/i, "");
    rest = before !== "" && after !== "" ? `${before} and ${after}` : before + after;
  }
  if (condition === "" || rest === "") return condition || rest;
  const hasOr = tokenize(rest).some((token) => token.kind === "keyword" && /^(or|\|\|)$/i.test(token.text));
  return `${condition} and ${hasOr ? `(${rest})` : rest}`;
}

/** The paths of the values in an event's data, breadth first, with their types. */
export function pathsOf(data: unknown, limit = 300): { path: string; type: string }[] {
  const found: { path: string; type: string }[] = [];
  const queue: { steps: (string | number)[]; value: unknown }[] = [{ steps: [], value: data }];
  for (const { steps, value } of queue) {
    if (found.length >= limit) break;
    if (typeof value === "object" && value !== null && steps.length < 8) {
      const inner = Array.isArray(value)
        ? value.slice(0, 1).entries()
        : Object.entries(value).slice(0, limit);
      for (const [key, next] of inner) queue.push({ steps: [...steps, key], value: next });
    } else if (steps.length > 0) {
      found.push({
        path: dataPath(steps),
        type: value === null ? "null" : typeof value === "string" ? "text" : typeof value,
      });
    }
  }
  return found;
}
