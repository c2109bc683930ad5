import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { resultOf } from "./result";

const shown = (event_type: string, fields: Record<string, unknown> | undefined) => {
  const result = resultOf({ event_type, fields } as ListedEvent);
  return result && `${result.look}: ${result.text} (${result.field} = ${result.value})`;
};
const call = (fields: Record<string, unknown>) => shown("file_operation", fields);

test("a failed call has the name of its error", () => {
  expect(call({ "data.status": -2, "data.error": "ENOENT" })).toBe("failed: ENOENT (data.error = ENOENT)");
  expect(call({ "data.status": -11, "data.error": "EAGAIN" })).toBe("warning: EAGAIN (data.error = EAGAIN)");
  expect(call({ "data.status": 0 })).toBe("ok: ok (data.status = 0)");
  expect(call({ "data.status": 0, "data.error": null })).toBe("ok: ok (data.status = 0)");
  expect(call({ "data.status": -2, "data.error": "" })).toBe("failed: -2 (data.status = -2)");
});

test("a status of Windows has its name and severity", () => {
  expect(call({ "data.status": -1073741772 })).toBe(
    "failed: OBJECT_NAME_NOT_FOUND (data.status = -1073741772)",
  );
  expect(call({ "data.status": -1073741000 })).toBe("failed: 0xC0000338 (data.status = -1073741000)");
  expect(call({ "data.status": -2147483643 })).toBe("warning: BUFFER_OVERFLOW (data.status = -2147483643)");
  expect(call({ "data.status": 259 })).toBe("plain: pending (data.status = 259)");
});

test("processes end by a code or a signal", () => {
  const exit = (fields: Record<string, unknown>) => shown("process_exit", { "data.status": 0, ...fields });
  expect(exit({ "data.exitCode": 0 })).toBe("plain: exit 0 (data.exitCode = 0)");
  expect(exit({ "data.exitCode": 3, "data.signal": 0 })).toBe("failed: exit 3 (data.exitCode = 3)");
  expect(exit({ "data.signal": 9, "data.signalName": "SIGKILL" })).toBe(
    "failed: SIGKILL (data.signalName = SIGKILL)",
  );
  expect(exit({ "data.signal": 34 })).toBe("failed: signal 34 (data.signal = 34)");
});

test("answers have their status", () => {
  const http = (code: number) => shown("http_network_operation", { "data.response.status_code": code });
  expect([204, 404, 503].map(http)).toEqual([
    "plain: 204 (data.response.status_code = 204)",
    "warning: 404 (data.response.status_code = 404)",
    "failed: 503 (data.response.status_code = 503)",
  ]);
  const dns = (code: string) => shown("network_operation", { "data.status": 0, "data.dns[0].code": code });
  expect(dns("NXDOMAIN")).toBe("warning: NXDOMAIN (data.dns[0].code = NXDOMAIN)");
  expect(dns("NOERROR")).toBe("ok: ok (data.status = 0)");
});

test("nothing is said of a result that nobody knows", () => {
  expect(shown("file_operation", undefined)).toBeUndefined();
  expect(call({})).toBeUndefined();
  expect(call({ "data.status": "fine", "data.error": { a: 1 } })).toBeUndefined();
  expect(call({ "data.status": 0, "data.ioUringOperation": "Read" })).toBeUndefined();
  // Only of calls is 0 known to mean success.
  expect(shown("their_type", { "data.status": 0 })).toBe("plain: 0 (data.status = 0)");
});
