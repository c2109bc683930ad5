import { deflateSync } from "node:zlib";
import type { PostedEvent } from "./harness";

/** Pseudo-random numbers, the same in every run. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const processes = [
  { pid: 4188, name: "invoice.sh", parent: 1 },
  { pid: 4190, name: "sh", parent: 4188 },
  { pid: 4191, name: "curl", parent: 4190 },
  { pid: 4192, name: "python3", parent: 4190 },
  { pid: 4193, name: "gcc", parent: 4192 },
  { pid: 4194, name: "cc1", parent: 4193 },
  { pid: 4200, name: "base64", parent: 4190 },
] as const;

const paths = [
  "/etc/passwd",
  "/etc/ld.so.cache",
  "/usr/lib/x86_64-linux-gnu/libc.so.6",
  "/tmp/sample/out.bin",
  "/tmp/sample/notes.txt",
  "/home/user/.ssh/id_rsa",
  "/home/user/Documents/budget-2026.ods",
  "/proc/self/maps",
  "/dev/null",
];
const operations = [
  "ReadFile",
  "WriteFile",
  "OpenFile",
  "OpenFile",
  "ReadFile",
  "CloseFile",
  "RenameFile",
  "DeleteFile",
];
const hosts = ["api.example.com", "cdn.example.net", "files.example.org"];

/**
 * Invented events of a sample that ran for ten minutes: processes, files, HTTP, connections
 * with DNS names, packets, and a loss. There are about 4,300, in the order of their times.
 */
export function storyEvents(began: Date): PostedEvent[] {
  const random = dice(7);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const at = (seconds: number) => new Date(began.getTime() + seconds * 1000).toISOString();
  const events: PostedEvent[] = [];
  const add = (seconds: number, event_type: string, data: unknown, source = "os-pulse-agent") =>
    events.push({ event_type, timestamp: at(seconds), source, data });
  const startOf = (pid: number) => processes.findIndex((process) => process.pid === pid) * 0.7;
  const metadata = (pid: number) => ({
    sessionId: "x",
    processName: processes.find((process) => process.pid === pid)?.name ?? "init",
    processId: pid,
    processStartTime: at(startOf(pid)),
  });

  add(0, "session_start", {
    sessionId: "x",
    processName: "invoice.sh",
    processId: 4188,
    timestamp: at(0),
    platform: "linux",
    arch: "x64",
  });
  for (const { pid, name, parent } of processes) {
    add(startOf(pid), "process_creation", {
      operation: "execve",
      imagePath: `/usr/bin/${name}`,
      commandLine: `${name} --quiet 'two words' /tmp/sample/${name}.txt`,
      currentDirectory: "/tmp/sample",
      newProcessId: pid,
      newProcessStartTime: at(startOf(pid)),
      status: 0,
      metadata: parent === 1 ? { processName: "init", processId: 1 } : metadata(parent),
    });
  }
  for (let i = 0; i < 2400; i++) {
    const { pid } = pick(processes);
    const seconds = startOf(pid) - 50 * Math.log(1 - random());
    const path = pick(paths);
    const operation = pick(operations);
    const content = Buffer.from(`line ${i} of ${path}\n`);
    add(seconds, "file_operation", {
      operation,
      handle: 3 + (i % 40),
      filePath: path,
      status: 0,
      ...(/^(Read|Write)File$/.test(operation) && {
        bytesTransferred: content.length,
        content: hex(content),
        offset: i * 64,
      }),
      ...(operation === "RenameFile" && { newPath: `${path}.locked` }),
      metadata: metadata(pid),
    });
  }
  for (let i = 0; i < 110; i++) httpFlow(5 + i * 5, i);
  for (let i = 0; i < 1300; i++) {
    const peer = 1 + Math.floor(random() * 8);
    const ends = [
      ["10.0.0.5", 40_000 + peer],
      [`93.184.216.${peer}`, pick([80, 443, 443])],
    ] as const;
    const [from, to] = random() < 0.5 ? ends : [ends[1], ends[0]];
    const info = `${from[1]} → ${to[1]} [ACK] Seq=${i} Len=0`;
    add(
      5 + i * 0.4,
      "raw_network_operation",
      {
        timestamp: began.getTime() / 1000 + 5 + i * 0.4,
        frame_number: i + 1,
        protocol: pick(["TCP", "TLSv1.3", "HTTP"]),
        src: from[0],
        dst: to[0],
        src_port: from[1],
        dst_port: to[1],
        length: 60 + Math.floor(random() * 1400),
        info: hex(Buffer.from(info)),
        info_raw: info,
      },
      "network-interceptor",
    );
  }
  for (let i = 0; i < 80; i++) lookUpAndConnect(4 + i * 7, i);
  add(300, "events_lost", { count: 37, reason: "ring_buffer_overrun", from: at(298), to: at(300), cpu: 1 });
  for (const { pid } of processes)
    add(590, "process_exit", {
      operation: "exit_group",
      exitCode: pid % 3,
      signal: 0,
      metadata: metadata(pid),
    });
  return events.sort((a, b) => a.timestamp.localeCompare(b.timestamp));

  function httpFlow(seconds: number, i: number): void {
    const host = pick(hosts);
    const method = pick(["GET", "GET", "GET", "POST", "PUT"]);
    const path = pick(["/", "/v1/beacon?id=42&host=desk-7", "/img/logo.png", "/submit", "/page.html"]);
    const flow = {
      client: null,
      server: { ip: ["93.184.216.34", 80] },
      request: {
        method,
        scheme: "http",
        host,
        port: 80,
        path,
        url: `http://${host}${path}`,
        http_version: "HTTP/1.1",
        headers: {
          Host: host,
          "User-Agent": "curl/8.5.0",
          Accept: "*/*",
          ...(method !== "GET" && { "Content-Type": "application/json" }),
        },
        body:
          method === "GET"
            ? null
            : text('{"user":"me","files":["budget-2026.ods"],"size":12345678901234567890}'),
      },
      metadata: metadata(pick([4191, 4192])),
    };
    const millis = began.getTime() + Math.round(seconds * 1000);
    add(
      seconds,
      "http_network_operation",
      { ...flow, kind: "request", timestamp_ms: millis },
      "http-interceptor",
    );
    if (i % 11 === 10) return;
    const [body, type] = pick([
      [text('{"ok":true,"next":[{"id":1,"do":"wait"},{"id":2,"do":"list"}]}'), "application/json"],
      [text("<!doctype html><html><body><h1>It works</h1></body></html>"), "text/html"],
      [binary(picture()), "image/png"],
      [
        binary(Buffer.from(Array.from({ length: 1024 }, (_, byte) => byte % 256))),
        "application/octet-stream",
      ],
    ] as const);
    const took = 5 + Math.floor(random() * 900);
    const status = pick([200, 200, 200, 204, 301, 404, 500]);
    const response = {
      status_code: status,
      reason: status === 200 ? "OK" : "",
      http_version: "HTTP/1.1",
      headers: { "Content-Type": type, Server: "nginx" },
      body,
    };
    add(
      seconds + took / 1000,
      "http_network_operation",
      { ...flow, kind: "response", timestamp_ms: millis + took, response },
      "http-interceptor",
    );
  }

  function lookUpAndConnect(seconds: number, i: number): void {
    const pid = pick([4191, 4192]);
    const name = hosts[i % hosts.length];
    const peer = `93.184.216.${1 + (i % 8)}`;
    const ends = {
      src: "10.0.0.5",
      src_port: 50_000 + i,
      dst: "10.0.0.1",
      dst_port: 53,
    };
    const questions = [{ name, type: "A" }];
    const answers = [{ name, type: "A", data: peer, ttl: 60 }];
    const ask = {
      operation: "Send",
      protocol: "udp",
      ...ends,
      bytesTransferred: 40,
      dns: [{ id: i, response: false, questions }],
    };
    const call = {
      operation: "Receive",
      protocol: "udp",
      ...ends,
      bytesTransferred: 90,
      dns: [{ id: i, response: true, code: "NOERROR", questions, answers }],
    };
    const connect = {
      operation: "Connect",
      protocol: "tcp",
      src: "10.0.0.5",
      src_port: 40_001 + (i % 8),
      dst: peer,
      dst_port: 443,
      status: 0,
    };
    add(seconds, "network_operation", { ...ask, metadata: metadata(pid) });
    add(seconds + 0.02, "network_operation", { ...call, metadata: metadata(pid) });
    add(seconds + 0.05, "network_operation", { ...connect, metadata: metadata(pid) });
  }
}

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
export const text = (content: string) => ({ type: "text", content, size: content.length, truncated: false });
export const binary = (bytes: Buffer) => ({
  type: "binary",
  content_b64: bytes.toString("base64"),
  size: bytes.length,
  truncated: false,
});

/** A PNG of 32×32 pixels of different colors. */
function picture(): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.from([0, 0, 0, 32, 0, 0, 0, 32, 8, 2, 0, 0, 0]);
  const rows = Array.from({ length: 32 }, (_, y) =>
    Buffer.from([0, ...Array.from({ length: 32 }, (_, x) => [x * 8, y * 8, 160]).flat()]),
  );
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
