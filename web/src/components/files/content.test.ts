import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { assemble, bytesOf, textOf } from "./content";

let seq = 0;
function event(operation: string, fields: Record<string, unknown> = {}, pid = 4): ListedEvent {
  seq++;
  const prefixed = Object.fromEntries(Object.entries(fields).map(([name, value]) => [`data.${name}`, value]));
  return {
    session_id: "s",
    seq,
    event_type: "file_operation",
    timestamp: "2026-01-01T00:00:00Z",
    timestamp_source: "agent",
    source: "x",
    created_at: "2026-01-01T00:00:00Z",
    pid,
    process_name: "cat",
    operation,
    target: "/a",
    preview: "",
    preview_is_cut: false,
    fields: prefixed,
  } as ListedEvent;
}

test("the writes of one open are one content", () => {
  const streams = assemble([
    event("OpenFile"),
    event("WriteFile", { handle: 3, content: "68 65", bytesTransferred: 2 }),
    event("WriteFile", { handle: 3, content: "6c6c6f", bytesTransferred: 3 }),
  ]);
  expect(streams.map(textOf)).toEqual(["hello"]);
  expect(streams[0]).toMatchObject({ direction: "written", calls: 2, total: 5, captured: 5 });
});

test("opens, processes and directions are separate", () => {
  const streams = assemble([
    event("WriteFile", { handle: 3, content: "61", bytesTransferred: 1 }),
    event("CloseFile", { handle: 3 }),
    event("WriteFile", { handle: 3, content: "62", bytesTransferred: 1 }),
    event("ReadFile", { handle: 3, content: "63", bytesTransferred: 1 }),
    event("WriteFile", { handle: 3, content: "64", bytesTransferred: 1 }, 5),
  ]);
  expect(streams.map((s) => [s.pid, s.direction, textOf(s)])).toEqual([
    [4, "written", "a"],
    [4, "written", "b"],
    [4, "read", "c"],
    [5, "written", "d"],
  ]);
});

test("uncaptured bytes are a gap of their size", () => {
  const [stream] = assemble([
    event("ReadFile", { content: "61 62", bytesTransferred: 100 }),
    event("ReadFile", { content: "<data too large: 50 bytes>", bytesTransferred: 50 }),
    event("ReadFile", { content: "63 6", bytesTransferred: 1 }),
  ]);
  expect(stream?.pieces).toEqual([
    { bytes: new Uint8Array([0x61, 0x62]) },
    { missing: 148 },
    { bytes: new Uint8Array([0x63]) },
  ]);
  expect(stream && bytesOf(stream).length).toBe(3);
});

test("impossible sizes are ignored", () => {
  expect(
    assemble([
      event("ReadFile", { bytesTransferred: 4294967280 }),
      event("ReadFile", { bytesTransferred: -16 }),
    ]),
  ).toEqual([]);
});

test("binary bytes are not text", () => {
  const [stream] = assemble([event("ReadFile", { content: "00 ff fe 80 81", bytesTransferred: 5 })]);
  expect(stream && textOf(stream)).toBeUndefined();
});
