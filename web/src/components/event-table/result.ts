import type { ListedEvent } from "@/api/client";
import { kindOf } from "@/lib/kind";
import { ntHex, ntName } from "@/lib/nt-status";

/** The fields of the data that tell the result of an event. */
export const resultFields = [
  "data.error",
  "data.status",
  "data.exitCode",
  "data.signalName",
  "data.signal",
  "data.response.status_code",
  "data.dns[0].code",
  "data.ioUringOperation",
  "data.aioOperation",
] as const;

/** How an event ended. */
export interface Result {
  text: string;
  look: "failed" | "warning" | "plain" | "ok";
  /** The field that tells it, and its value. */
  field: (typeof resultFields)[number];
  value: string | number;
}

// Errors by which a call says "not yet": the program waits or tries again.
const passing = new Set(["EAGAIN", "EINPROGRESS", "EALREADY", "EINTR", "ERESTARTSYS"]);

/** The result that the agent reported; undefined if it reported none. */
export function resultOf({ event_type, fields }: ListedEvent): Result | undefined {
  if (!fields) return undefined;
  const { [resultFields[0]]: error, [resultFields[1]]: status } = fields;
  if (isSaid(error)) {
    const look = passing.has(String(error)) ? "warning" : "failed";
    return { text: String(error), look, field: "data.error", value: error };
  }
  const signal = (["data.signalName", "data.signal"] as const).find((field) => isSaid(fields[field]));
  if (signal) {
    const value = fields[signal] as string | number;
    return {
      text: typeof value === "number" ? `signal ${value}` : value,
      look: "failed",
      field: signal,
      value,
    };
  }
  const code = fields["data.exitCode"];
  if (typeof code === "number")
    return {
      text: `exit ${code}`,
      look: code === 0 ? "plain" : "failed",
      field: "data.exitCode",
      value: code,
    };
  const answer = fields["data.response.status_code"];
  if (typeof answer === "number") {
    const look = answer >= 500 ? "failed" : answer >= 400 ? "warning" : "plain";
    return { text: String(answer), look, field: "data.response.status_code", value: answer };
  }
  const dns = fields["data.dns[0].code"];
  if (typeof dns === "string" && dns !== "" && dns !== "NOERROR")
    return { text: dns, look: "warning", field: "data.dns[0].code", value: dns };
  return typeof status === "number" ? ofStatus(event_type, status, fields) : undefined;
}

/** Whether a value tells an error or a signal: agents may send null, "" or 0 if there is none. */
function isSaid(value: unknown): value is string | number {
  return (typeof value === "string" || typeof value === "number") && value !== "" && value !== 0;
}

/** The result by a status: a negative errno of Linux, or an NTSTATUS, whose two highest bits are its severity. */
function ofStatus(type: string, status: number, fields: Record<string, unknown>): Result | undefined {
  const field = "data.status";
  // The agent knows only that the operation was submitted.
  if (fields["data.ioUringOperation"] || fields["data.aioOperation"]) return undefined;
  const { kind } = kindOf(type);
  if (kind !== "file" && kind !== "process" && kind !== "network")
    return { text: String(status), look: "plain", field, value: status };
  if (status === 0) return { text: "ok", look: "ok", field, value: status };
  if (status >= -4096) {
    const text = status < 0 ? String(status) : (ntName(status) ?? String(status));
    return { text, look: status < 0 ? "failed" : "plain", field, value: status };
  }
  const isWarning = status >>> 30 === 2;
  return {
    text: ntName(status) ?? ntHex(status),
    look: isWarning ? "warning" : "failed",
    field,
    value: status,
  };
}
