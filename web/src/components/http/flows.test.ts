import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { joinSides, pairFlows } from "./flows";

function event(seq: number, second: number, url: string, status?: number, id?: string): ListedEvent {
  return {
    session_id: "s",
    seq,
    event_type: "http_network_operation",
    timestamp: `2026-01-01T00:00:${String(second).padStart(2, "0")}Z`,
    timestamp_source: "agent",
    source: "x",
    created_at: "2026-01-01T00:00:00Z",
    pid: 4,
    process_name: "curl",
    operation: "GET",
    target: url,
    preview: "",
    preview_is_cut: false,
    fields: {
      "data.request.method": "GET",
      "data.request.url": url,
      ...(status === undefined ? {} : { "data.response.status_code": status }),
      ...(id === undefined ? {} : { "data.flow_id": id }),
    },
  };
}

test("a request and its response are one flow", () => {
  const flows = pairFlows([event(1, 0, "/a"), event(2, 1, "/b"), event(3, 2, "/a", 200)]);
  expect(flows.map((flow) => [flow.url, flow.status, flow.seq, flow.requestSeq, flow.micros])).toEqual([
    ["/a", 200, 3, 1, 2e6],
    ["/b", undefined, 2, 2, undefined],
  ]);
});

test("equal requests get their responses in order", () => {
  const flows = pairFlows([
    event(1, 0, "/a"),
    event(2, 1, "/a"),
    event(3, 2, "/a", 200),
    event(4, 3, "/a", 404),
  ]);
  expect(flows.map((flow) => [flow.requestSeq, flow.responseSeq, flow.status])).toEqual([
    [1, 3, 200],
    [2, 4, 404],
  ]);
});

test("the id has precedence, and request and response may arrive in any order", () => {
  const flows = pairFlows([
    event(1, 5, "/a", 200, "y"),
    event(2, 0, "/a", undefined, "x"),
    event(3, 4, "/a", undefined, "y"),
  ]);
  expect(flows.map((flow) => [flow.requestSeq, flow.responseSeq, flow.micros])).toEqual([
    [3, 1, 1e6],
    [2, undefined, undefined],
  ]);
});

test("a response before a request is not its response", () => {
  expect(pairFlows([event(1, 0, "/a", 200), event(2, 1, "/a")])).toHaveLength(2);
});

/** An event of a side of an exchange on loopback, as this project's agent sends it. */
function side(seq: number, millis: number, role: string | undefined, client: unknown, status?: number) {
  const made = event(seq, 0, "http://localhost:18087/a", status);
  made.timestamp = `2026-01-01T00:00:00.${String(millis).padStart(3, "0")}Z`;
  made.pid = role === "server" ? 9 : 4;
  made.fields = { ...made.fields, "data.role": role, "data.client": client, "data.request.port": 18087 };
  return made;
}

test("an exchange that client and server saw is one row", () => {
  const client = ["127.0.0.1", 34710];
  const rows = joinSides(
    pairFlows([
      side(1, 10, "server", client),
      side(2, 10, "client", client),
      side(3, 12, "server", client, 200),
      side(4, 13, "client", client, 200),
      side(5, 20, "client", client),
      side(6, 20, "server", client),
      side(7, 21, "server", client, 404),
      side(8, 22, "client", client, 404),
      side(9, 20, "server", ["127.0.0.1", 34711], 500),
    ]),
  );
  expect(
    rows.map((row) => [row.side, row.requestSeq, row.status, row.others.map((o) => o.requestSeq)]),
  ).toEqual([
    ["client", 2, 200, [1]],
    ["client", 5, 404, [6]],
    ["server", undefined, 500, []],
  ]);
  expect(rows[0]).toMatchObject({ scheme: "http", port: 18087, pid: 4 });
});

test("a proxy that does not know the client joins by request and time", () => {
  const client = ["127.0.0.1", 34710];
  const rows = joinSides(
    pairFlows([
      side(1, 10, "client", client),
      side(2, 11, undefined, null),
      side(3, 60, undefined, null, 200),
      side(4, 61, "client", client),
      side(5, 900, undefined, null),
    ]),
  );
  expect(rows.map((row) => [row.side, row.requestSeq, row.status, row.others.map((o) => o.side)])).toEqual([
    ["client", 1, 200, ["proxy"]],
    ["client", 4, undefined, ["proxy"]],
  ]);
});

test("one side's equal requests stay separate", () => {
  const client = ["127.0.0.1", 34710];
  const rows = joinSides(pairFlows([side(1, 10, "client", client), side(2, 10, "client", client)]));
  expect(rows).toHaveLength(2);
});
