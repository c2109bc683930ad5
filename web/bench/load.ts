import type { Backend, PostedEvent } from "../e2e/harness";

const operations = ["ReadFile", "WriteFile", "OpenFile", "CloseFile"];
const names = ["sh", "curl", "python3", "gcc", "cc1", "base64", "node"];

/** Returns event i: one of five types, by one of seven processes, on one of some thousand files. */
function eventAt(i: number, time: Date): PostedEvent {
  const processName = names[i % names.length] ?? "sh";
  const metadata = { sessionId: "x", processName, processId: 4000 + (i % names.length) };
  const timestamp = time.toISOString();
  if (i % 50 === 0) {
    const url = `http://api.example.com/v1/items/${i % 997}`;
    const request = {
      method: "GET",
      scheme: "http",
      host: "api.example.com",
      port: 80,
      path: `/v1/items/${i % 997}`,
      url,
      http_version: "HTTP/1.1",
      headers: { Host: "api.example.com" },
      body: null,
    };
    return {
      event_type: "http_network_operation",
      timestamp,
      source: "http-interceptor",
      data: {
        timestamp_ms: time.getTime(),
        kind: "request",
        client: null,
        server: { ip: null },
        request,
        metadata,
      },
    };
  }
  if (i % 10 === 0) {
    const data = {
      timestamp: time.getTime() / 1000,
      frame_number: i,
      protocol: "TCP",
      src: "10.0.0.5",
      dst: `93.184.216.${i % 40}`,
      src_port: 40_000 + (i % 40),
      dst_port: 443,
      length: 60 + (i % 1400),
      info: "41 43 4b",
      info_raw: "ACK",
    };
    return { event_type: "raw_network_operation", timestamp, source: "network-interceptor", data };
  }
  const operation = operations[i % operations.length];
  const data = {
    operation,
    handle: i % 64,
    filePath: `/tmp/data/${i % 500}/file${i % 7919}.dat`,
    bytesTransferred: i % 4096,
    status: 0,
    metadata,
  };
  return { event_type: "file_operation", timestamp, source: "os-pulse-agent", data };
}

/** Stores many events that happened in the ten minutes before now. */
export async function fill(
  backend: Backend,
  sessionId: string,
  count: number,
  onProgress: (done: number) => void,
) {
  const [began, size] = [Date.now() - 600_000, 10_000];
  for (let from = 0; from < count; from += size) {
    const part = Array.from({ length: Math.min(size, count - from) }, (_, i) =>
      eventAt(from + i, new Date(began + ((from + i) / count) * 600_000)),
    );
    await backend.postEvents(sessionId, part);
    onProgress(from + part.length);
  }
}

/** Posts events at a rate per second. Stopping it returns the number of stored events. */
export function pour(backend: Backend, sessionId: string, perSecond: number): () => Promise<number> {
  const [began, batchMillis] = [Date.now(), 100];
  let [sent, isStopped] = [0, false];
  const done = (async () => {
    while (!isStopped) {
      const due = Math.floor(((Date.now() - began) / 1000) * perSecond) - sent;
      // A backlog is sent in parts of bounded size.
      const events = Array.from({ length: Math.min(due, perSecond) }, (_, i) =>
        eventAt(sent + i, new Date()),
      );
      if (events.length > 0) await backend.postEvents(sessionId, events);
      sent += events.length;
      await new Promise((next) => setTimeout(next, batchMillis - ((Date.now() - began) % batchMillis)));
    }
  })();
  return async () => {
    isStopped = true;
    await done;
    return sent;
  };
}
