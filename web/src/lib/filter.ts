import { cutText } from "./text";

/** Builds texts of the backend's filter language; docs/filter.md has all of it. */

/** A value in quotes in which nothing is a wildcard or an escape. */
export function quote(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** The condition that a field has a value; a null is its absence. */
export function equals(field: string, value: string | number | boolean | null): string {
  if (value === null) return `not exists ${field}`;
  return `${field} = ${typeof value === "string" ? quote(value) : String(value)}`;
}

export function notEquals(field: string, value: string | number | boolean | null): string {
  if (value === null) return `exists ${field}`;
  return `not ${equals(field, value)}`;
}

/** Joins filters with "and"; blank ones count as all events. */
export function and(...filters: (string | undefined)[]): string {
  const given = filters.map((f) => f?.trim() ?? "").filter((f) => f !== "");
  if (given.length < 2) return given[0] ?? "";
  return given.map((f) => (needsParentheses(f) ? `(${f})` : f)).join(" and ");
}

function needsParentheses(filter: string): boolean {
  // A word of "or" anywhere may be an operator; parentheses too many do no harm.
  return /\bor\b|\|\|/i.test(filter);
}

/** Adds a condition to a filter that a person wrote, unless it is there already. */
export function addCondition(filter: string, condition: string): string {
  const parts = filter.split(/ and /);
  return parts.some((part) => part.trim() === condition) ? filter : and(filter, condition);
}

/** The path of the filter language to a place in data: keys as they are, list places as numbers. */
export function dataPath(steps: readonly (string | number)[]): string {
  let path = "data";
  for (const step of steps) {
    if (typeof step === "number") path += `[${step}]`;
    else if (/^[\p{L}\p{N}_-]+$/u.test(step)) path += `.${step}`;
    else path += `[${JSON.stringify(step)}]`;
  }
  return path;
}

// Longer texts would make a filter that is refused, and an address that nobody can share.
const longest = 1000;

/**
 * The condition that a field has a value, or with isNot that it has not. A text too
 * long for a filter is compared by its beginning. A number can be
 * given as it is written, so that none of its digits is lost.
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

/** A NUL and half of a surrogate pair are found as U+FFFD. */
function asFound(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\ufffd");
}
