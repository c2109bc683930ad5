import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { dnsText, packetRow } from "./packets";

const event = (type: string, fields: Record<string, unknown>): ListedEvent =>
  ({
    seq: 3,
    event_type: type,
    timestamp: "2026-01-01T00:00:00Z",
    operation: "Connect",
    target: "192.0.2.7:443",
    fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [`data.${name}`, value])),
  }) as ListedEvent;

test("a packet has its endpoints, length and summary", () => {
  const row = packetRow(
    event("raw_network_operation", {
      protocol: "TCP",
      src: "10.0.0.1",
      src_port: 5,
      dst: "10.0.0.2",
      dst_port: null,
      length: 60,
      info: "41 42",
    }),
  );
  expect(row).toMatchObject({
    what: "TCP",
    from: "10.0.0.1:5",
    to: "10.0.0.2",
    bytes: 60,
    info: "AB",
    content: undefined,
  });
});

test("a call has its peer, bytes and failure", () => {
  const row = packetRow(
    event("network_operation", { bytesTransferred: -1, error: "ECONNREFUSED", content: "00 ff" }),
  );
  expect(row).toMatchObject({ what: "Connect", to: "192.0.2.7:443", bytes: undefined, info: "ECONNREFUSED" });
  expect([...(row.content ?? [])]).toEqual([0, 255]);
});

test("received bytes come from the remote end", () => {
  const received = {
    ...event("network_operation", { src: "10.0.0.1", src_port: 5, dst: "192.0.2.7", dst_port: 53 }),
    operation: "Receive",
  };
  expect(packetRow(received)).toMatchObject({ from: "192.0.2.7:53", to: "10.0.0.1:5" });
});

test("an ICMP packet has no ports of its own", () => {
  const about = { src: "10.0.0.1", src_port: 4000, dst: "10.0.0.5", dst_port: 53 };
  const row = packetRow(
    event("raw_network_operation", {
      ...about,
      protocol: "ICMP",
      info_raw: "Destination unreachable (Port)",
    }),
  );
  expect(row).toMatchObject({
    from: "10.0.0.1",
    to: "10.0.0.5",
    info: "Destination unreachable (Port): 4000 → 53",
  });
});

test("invalid addresses are left out", () => {
  expect(
    packetRow(
      event("raw_network_operation", { protocol: {}, src: 7, info: [], length: "x", content: "<data>" }),
    ),
  ).toMatchObject({
    what: "packet",
    from: "",
    bytes: undefined,
    info: "",
  });
  expect(packetRow({ ...event("network_operation", {}), fields: undefined } as ListedEvent).info).toBe("");
});

test("DNS messages are formatted as lines", () => {
  const question = { questions: [{ name: "a.example", type: "A" }] };
  expect(dnsText([question])).toBe("A a.example");
  expect(dnsText([{ ...question, answers: [{ data: "192.0.2.7" }, { data: "192.0.2.8" }] }])).toBe(
    "A a.example → 192.0.2.7, 192.0.2.8",
  );
  expect(dnsText([{ ...question, code: "NXDOMAIN" }])).toBe("A a.example → NXDOMAIN");
  expect(dnsText([null, { questions: 3 }])).toBe("; ");
  expect(dnsText("x")).toBe("");
});
