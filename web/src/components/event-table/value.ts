import type { ListedEvent } from "@/api/client";
import { asFound, condition, quote } from "@/lib/filter";
import { cutText } from "@/lib/text";
import { type ColumnId, type DataColumn, isDataColumn } from "./columns";
import { resultOf } from "./result";

/** A value of an event that can be filtered for. */
export interface FieldValue {
  /** The name in the filter language. */
  field: string;
  /** The value as text; null if the event does not have the field. */
  text: string | null;
  /** Writes the condition that the field has the value, or does not have it. */
  conditionOf: (isNot: boolean) => string;
}

const names = ["process", "pid", "operation", "target", "source", "type"] as const;
type Named = (typeof names)[number];

function namedValue(event: ListedEvent, name: Named): string | number | null {
  if (name === "process") return event.process_name;
  return name === "type" ? event.event_type : event[name];
}

/** The value that a column shows; undefined if the column cannot be filtered by value. */
export function fieldValue(event: ListedEvent, column: ColumnId): FieldValue | undefined {
  if (isDataColumn(column)) return dataFieldValue(event, column);
  if (column === "result") {
    const result = resultOf(event);
    return result && ofValue(result.field, result.value);
  }
  const name = names.find((other) => other === column);
  return name && ofValue(name, namedValue(event, name));
}

function ofValue(field: string, value: string | number | boolean | null): FieldValue {
  return {
    field,
    text: value === null ? null : String(value),
    conditionOf: (isNot) => condition(field, value, isNot),
  };
}

/** The text that a column of names shows; null if the event has no value. */
export function cellText(event: ListedEvent, column: ColumnId): string | null {
  const name = names.find((other) => other === column);
  const value = name ? namedValue(event, name) : null;
  return value === null ? null : String(value);
}

/** A value of the data as a cell shows it. */
interface DataCell {
  text: string;
  /** Whether the text has other digits than the event: numbers are read as 64-bit floats. */
  isRounded: boolean;
}

/** The text of a value of the data; null if the event does not have it. */
export function dataCell(event: ListedEvent, path: DataColumn): DataCell | null {
  const value = event.fields?.[path];
  const isCut = event.fields_cut?.includes(path) ?? false;
  if (value === undefined) return isCut ? { text: "…", isRounded: false } : null;
  if (typeof value === "string") return { text: isCut ? `${value}…` : value, isRounded: false };
  let isRounded = false;
  const text = JSON.stringify(value, (_, inner: unknown) => {
    isRounded ||= typeof inner === "number" && mayBeRounded(inner);
    return inner;
  });
  return { text, isRounded };
}

/** Whether a JSON number that is read as this one may have had more digits. */
function mayBeRounded(number: number): boolean {
  if (Number.isInteger(number)) return !Number.isSafeInteger(number);
  return (
    String(number)
      .replace(/e.*/, "")
      .replace(/^-?[0.]*/, "")
      .replace(".", "").length > 15
  );
}

function dataFieldValue(event: ListedEvent, path: DataColumn): FieldValue | undefined {
  const value = event.fields?.[path];
  const isCut = event.fields_cut?.includes(path) ?? false;
  const cell = dataCell(event, path);
  if (!cell) return { field: path, text: null, conditionOf: (isNot) => condition(path, null, isNot) };
  const { text, isRounded } = cell;
  const not = (isNot: boolean, written: string) => `${isNot ? "not " : ""}${written}`;
  // A filter cannot compare objects and arrays, and JavaScript has rounded this number.
  if (isRounded || (typeof value === "object" && value !== null) || value === undefined)
    return { field: path, text, conditionOf: (isNot) => not(isNot, `exists ${path}`) };
  // The page has only the beginning.
  if (isCut)
    return {
      field: path,
      text,
      conditionOf: (isNot) =>
        not(isNot, `${path} startswith ${quote(asFound(cutText(String(value), 150).text))}`),
    };
  if (value === null) return { field: path, text, conditionOf: (isNot) => not(isNot, `${path} = null`) };
  return { ...ofValue(path, value as string | number | boolean), text };
}
