import { cutText } from "./text";

/** Builds filters in the backend's filter language; docs/filter.md describes it. */

/** Quotes a value so that it has no wildcards and no unintended escapes. */
export function quote(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** The condition that a field has a value; for null, that the field is absent. */
export function equals(field: string, value: string | number | boolean | null): string {
  if (value === null) return `not exists ${field}`;
  return `${field} = ${typeof value === "string" ? quote(value) : String(value)}`;
}

export function notEquals(field: string, value: string | number | boolean | null): string {
  if (value === null) return `exists ${field}`;
  return `not ${equals(field, value)}`;
}

/** Joins filters with "and". A blank filter selects all events. */
export function and(...filters: (string | undefined)[]): string {
  const given = filters.map((f) => f?.trim() ?? "").filter((f) => f !== "");
  if (given.length < 2) return given[0] ?? "";
  return given.map((f) => (needsParentheses(f) ? `(${f})` : f)).join(" and ");
}

function needsParentheses(filter: string): boolean {
  // Any "or" may be an operator; needless parentheses do no harm.
  return /\bor\b|\|\|/i.test(filter);
}

/** Adds a condition to a filter, unless the filter already has it. */
export function addCondition(filter: string, condition: string): string {
  const parts = filter.split(/ and /);
  return parts.some((part) => part.trim() === condition) ? filter : and(filter, condition);
}

/** Writes the path to a value in data: keys, and indexes for arrays. */
export function dataPath(steps: readonly (string | number)[]): string {
  let path = "data";
  for (const step of steps) {
    if (typeof step === "number") path += `[${step}]`;
    else if (/^[\p{L}\p{N}_-]+$/u.test(step)) path += `.${step}`;
    else path += `[${JSON.stringify(step)}]`;
  }
  return path;
}

const path = /^data(?:\.[\p{L}\p{N}_-]+|\["(?:[^"\\]|\\["\\])*"\]|\[\d{1,8}\]){1,32}$/u;

/**
 * Whether a text is a path to a value in data that the backend takes, as dataPath writes it.
 * There is no path to a key with control characters.
 */
export function isDataPath(text: string): boolean {
  return text.length <= 300 && path.test(text) && text.isWellFormed() && !/\p{Cc}/u.test(text);
}

// The backend refuses longer filters, and the address would be too long to share.
const longest = 1000;

/**
 * The condition that a field has a value or, with isNot, does not have it. A text that is
 * too long for a filter is compared by its beginning. A number can be passed as its
 * source, so that it keeps all digits.
 */
export function condition(
  field: string,
  value: string | number | boolean | null | { number: string },
  isNot = false,
): string {
  if (typeof value === "string" && value.length > longest) {
    const start = `${field} startswith ${quote(asFound(cutText(value, longest).text))}`;
    return isNot ? `not ${start}` : start;
  }
  if (typeof value === "object" && value !== null) return `${isNot ? "not " : ""}${field} = ${value.number}`;
  const given = typeof value === "string" ? asFound(value) : value;
  return isNot ? notEquals(field, given) : equals(field, given);
}

/** Replaces NULs and lone surrogates with U+FFFD, as the backend stores them for search. */
export function asFound(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\ufffd");
}
