import type { PostedEvent } from "./harness";
import { binary, text } from "./story";
import { trap } from "./watch";

/** Text that malware may write, by its aim. If any of it runs, it calls the trap. */
export const payloads = {
  script: `<script>${trap}("script")</script>`,
  image: `"><img src=x onerror='${trap}("image")'>`,
  svg: `<svg onload='${trap}("svg")'/>`,
  javascript: `javascript:${trap}("javascript")`,
  data: `data:text/html,<script>${trap}("data")</script>`,
  template: `\${${trap}("template")} {{constructor.constructor('${trap}(1)')()}}`,
  rightToLeft: "invoice\u202Efdp.exe\u2066\u2069",
  nul: "a\u0000b\u0001",
  terminal: "\u001b]0;title\u0007\u001b[31mred\u009b2J",
  loneSurrogate: "caf\udce9 \ud800",
  invisible: "ad\u200Bmin\u00AD\uFEFF\u{E0041}",
  prototype: "__proto__",
} as const;

const { script, image, svg, template, rightToLeft, terminal, invisible, nul, loneSurrogate } = payloads;
/** All payloads, those that act anywhere in a text together: each text has to be opened. */
export const texts = [
  `${script} ${image} ${svg}`,
  payloads.javascript,
  payloads.data,
  `${rightToLeft} ${terminal} ${invisible} ${template}`,
  `${nul} ${loneSurrogate}`,
  payloads.prototype,
];

const long = 10_000_000;

/** A payload that the backend accepts as the type or source of an event: short, and without controls. */
const nameOf = (bad: string) => bad.replaceAll(/[\p{Cc}\p{Cs}]/gu, "").slice(0, 60);

/** Events with a payload in every shown field, and some of 10 MB. */
export function hostileEvents(began: Date): { events: PostedEvent[]; large: PostedEvent[] } {
  let seconds = 0;
  const next = () => new Date(began.getTime() + ++seconds * 1000).toISOString();
  const event = (event_type: string, data: unknown, source = "os-pulse-agent"): PostedEvent => ({
    event_type,
    timestamp: next(),
    source,
    data,
  });
  const events = texts.flatMap((bad, i) => {
    const pid = 7000 + i;
    const metadata = {
      sessionId: bad,
      processName: bad,
      processId: pid,
      processStartTime: began.toISOString(),
    };
    const request = {
      method: bad,
      scheme: bad,
      host: bad,
      port: 80,
      path: `/${bad}`,
      url: i % 2 === 0 ? bad : `http://${bad}/${bad}?${bad}=${bad}`,
      http_version: bad,
      headers: { [bad]: bad, "Content-Type": "text/html", Location: bad, Cookie: bad },
      body: text(JSON.stringify({ [bad]: { [bad]: [bad] } })),
    };
    const flow = {
      timestamp_ms: began.getTime() + i,
      client: null,
      server: { ip: [bad, 80] },
      request,
      metadata,
    };
    const types = [
      "text/html",
      "image/svg+xml",
      "application/json",
      "application/x-www-form-urlencoded",
      bad,
    ];
    const body = i % 3 === 0 ? binary(Buffer.from(bad)) : text(i % 3 === 1 ? bad : `${bad}=${bad}&${bad}`);
    const response = {
      status_code: 200,
      reason: bad,
      http_version: bad,
      headers: { [bad]: bad, "Content-Type": types[i % types.length], Location: bad },
      body,
    };
    const dns = [
      {
        id: 1,
        response: true,
        code: bad,
        questions: [{ name: bad, type: bad }],
        answers: [{ name: bad, type: "A", data: `10.6.6.${i}`, ttl: 1 }],
      },
    ];
    const ends = {
      src: "10.0.0.5",
      src_port: 5000 + i,
      dst: `10.6.6.${i}`,
      dst_port: 53,
    };
    return [
      event("process_creation", {
        operation: bad,
        imagePath: bad,
        commandLine: `${bad} ${bad}`,
        currentDirectory: bad,
        newProcessId: pid,
        newProcessStartTime: began.toISOString(),
        metadata: { processName: bad, processId: 1 },
      }),
      event("file_operation", {
        operation: "WriteFile",
        filePath: `/tmp/${bad}`,
        newPath: bad,
        bytesTransferred: 4294967280,
        content: bad,
        metadata,
      }),
      event("file_operation", {
        operation: "ReadFile",
        filePath: `/tmp/${bad}`,
        bytesTransferred: 3,
        content: "3C 73 76 67 3E",
        metadata,
      }),
      event("http_network_operation", { ...flow, kind: "request" }, "http-interceptor"),
      event("http_network_operation", { ...flow, kind: "response", response }, "http-interceptor"),
      event("network_operation", {
        operation: bad,
        protocol: "udp",
        ...ends,
        bytesTransferred: 1,
        content: bad,
        dns,
        metadata,
      }),
      event("network_operation", {
        operation: "Connect",
        protocol: bad,
        src: bad,
        src_port: i,
        dst: bad,
        dst_port: i,
        metadata,
      }),
      event(
        "raw_network_operation",
        {
          timestamp: began.getTime() / 1000,
          frame_number: i,
          protocol: bad,
          src: bad,
          dst: bad,
          src_port: 1,
          dst_port: 2,
          length: 60,
          info: bad,
          info_raw: bad,
        },
        "network-interceptor",
      ),
      event("registry_operation", {
        [bad]: { [bad]: [[bad], { [bad]: null }] },
        int: 12345678901234567890n.toString(),
        target: bad,
      }),
    ];
  });
  // Short names, so each payload has its own.
  for (const bad of Object.values(payloads)) events.push(event(nameOf(bad), { target: bad }, nameOf(bad)));
  const metadata = { processName: "large", processId: 7999, processStartTime: began.toISOString() };
  const large = [
    event("file_operation", { operation: "WriteFile", filePath: `/tmp/${"A".repeat(long)}`, metadata }),
    event("file_operation", {
      operation: "WriteFile",
      filePath: "/tmp/large",
      content: "41 ".repeat(long / 3),
      metadata,
    }),
    event("process_creation", {
      operation: "execve",
      imagePath: "/bin/large",
      commandLine: "B".repeat(long),
      newProcessId: 7999,
      newProcessStartTime: began.toISOString(),
      metadata: { processName: "x", processId: 1 },
    }),
    event(
      "http_network_operation",
      {
        timestamp_ms: began.getTime(),
        kind: "request",
        client: null,
        server: { ip: null },
        request: {
          method: "POST",
          scheme: "http",
          host: "large.example",
          port: 80,
          path: "/",
          url: "http://large.example/",
          http_version: "HTTP/1.1",
          headers: { Host: "large.example" },
          body: text("C".repeat(long)),
        },
        metadata,
      },
      "http-interceptor",
    ),
    event("registry_operation", {
      deep: JSON.parse(`${"[".repeat(400)}${"]".repeat(400)}`),
      wide: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, i])),
    }),
  ];
  return { events, large };
}
