import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { pairFlows } from "./flows";

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
