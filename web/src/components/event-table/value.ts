import type { ListedEvent } from "@/api/client";
import { condition } from "@/lib/filter";
import type { ColumnId } from "./columns";

/** A value of an event that can be filtered for. */
export interface FieldValue {
  /** The name in the filter language. */
  field: string;
  value: string | number | null;
}

/** The field that a column shows; undefined if the column cannot be filtered by value. */
export function fieldValue(event: ListedEvent, column: ColumnId): FieldValue | undefined {
  switch (column) {
    case "type":
      return { field: "type", value: event.event_type };
    case "process":
      return { field: "process", value: event.process_name };
    case "pid":
      return { field: "pid", value: event.pid };
    case "operation":
      return { field: "operation", value: event.operation };
    case "target":
      return { field: "target", value: event.target };
    case "source":
      return { field: "source", value: event.source };
    default:
      return undefined;
  }
}

export function fieldCondition({ field, value }: FieldValue, isNot: boolean): string {
  return condition(field, value, isNot);
}
