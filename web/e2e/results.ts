import type { PostedEvent } from "./harness";

const began = new Date("2026-11-20T11:00:00Z");

/** The file that twelve processes read. */
export const shared = "/tmp/shared.txt";

/** A few calls that succeed and fail in every way that agents report, by one process and then by twelve. */
export function resultEvents(): PostedEvent[] {
  const events: PostedEvent[] = [];
  const add = (event_type: string, data: object, pid = 700) => {
    const timestamp = new Date(began.getTime() + events.length * 1000).toISOString();
    const metadata = { processName: `reader${pid}`, processId: pid };
    events.push({ event_type, timestamp, source: "os-pulse-agent", data: { ...data, metadata } });
  };
  const request = { method: "GET", url: "http://example.test/", host: "example.test", headers: {} };
  const response = { status_code: 404, reason: "Not Found", headers: {}, body: null };
  add("file_operation", { operation: "OpenFile", filePath: "/etc/absent", status: -2, error: "ENOENT" });
  add("file_operation", { operation: "OpenFile", filePath: "/etc/passwd", status: 0, handle: 3 });
  add("file_operation", { operation: "CreateFile", filePath: "C:\\absent", status: -1073741772 });
  add("http_network_operation", { kind: "response", request, response });
  add("network_operation", {
    operation: "Receive",
    status: 0,
    dns: [{ id: 1, response: true, code: "NXDOMAIN", questions: [{ name: "absent.test", type: "A" }] }],
  });
  add("raw_network_operation", {
    protocol: "UDP",
    src: "10.0.0.5",
    dst: "10.0.0.1",
    src_port: 5000,
    dst_port: 53,
  });
  add("process_operation", { operation: "execve", filePath: "/tmp/a", status: -13, error: "EACCES" });
  add("process_exit", { operation: "exit", exitCode: 3, status: 0 });
  for (let pid = 701; pid <= 712; pid++)
    add("file_operation", { operation: "ReadFile", filePath: shared, status: 0, bytesTransferred: pid }, pid);
  add("process_exit", { operation: "exit", signal: 9, signalName: "SIGKILL", status: 0 }, 712);
  return events;
}
