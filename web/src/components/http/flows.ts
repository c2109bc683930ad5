import type { ListedEvent } from "@/api/client";
import { toMicros } from "@/lib/time";

/** The requested fields of HTTP events; the details load the rest. */
export const flowFields = [
  "data.kind",
  "data.flow_id",
  "data.request.method",
  "data.request.url",
  "data.request.host",
  "data.request.path",
  "data.request.body.size",
  "data.response.status_code",
  "data.response.body.size",
  'data.response.headers["Content-Type"]',
  'data.response.headers["content-type"]',
].join(",");

/** A request, and its response if there is one. */
export interface Flow {
  /** The seq of the most informative event: the response if there is one. */
  seq: number;
  requestSeq?: number;
  responseSeq?: number;
  method: string;
  url: string;
  host: string;
  path: string;
  status?: number;
  contentType: string;
  requestBytes: number;
  responseBytes?: number;
  /** The time of the request, or of the response if only that was captured. */
  timestamp: string;
  /** From request to response, in microseconds; undefined unless both were captured. */
  micros?: number;
  pid: number | null;
  process: string | null;
}

type Fields = Record<string, unknown>;

const text = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" ? value : undefined);

function flowOf(event: ListedEvent): Flow {
  const fields = (event.fields ?? {}) as Fields;
  const status = number(fields["data.response.status_code"]);
  const isResponse = status !== undefined || fields["data.kind"] === "response";
  const url = text(fields["data.request.url"]) || (event.target ?? "");
  return {
    seq: event.seq,
    ...(isResponse ? { responseSeq: event.seq } : { requestSeq: event.seq }),
    method: text(fields["data.request.method"]) || (event.operation ?? ""),
    url,
    host: text(fields["data.request.host"]),
    path: text(fields["data.request.path"]) || url,
    status,
    contentType: text(
      fields['data.response.headers["Content-Type"]'] ?? fields['data.response.headers["content-type"]'],
    ),
    requestBytes: number(fields["data.request.body.size"]) ?? 0,
    responseBytes: number(fields["data.response.body.size"]),
    timestamp: event.timestamp,
    pid: event.pid,
    process: event.process_name,
  };
}

/**
 * Pairs requests with responses, as the HAR export does: by the id of the flow, else by
 * the request, oldest first. A response is never paired with a later request.
 */
export function pairFlows(events: readonly ListedEvent[]): Flow[] {
  const flows: Flow[] = [];
  const waiting = new Map<string, Flow[]>();
  for (const event of events) {
    const flow = flowOf(event);
    const id = (event.fields as Fields | undefined)?.["data.flow_id"];
    const key =
      id === undefined ? `${flow.method} ${flow.url} ${flow.pid} ${flow.requestBytes}` : `id ${String(id)}`;
    const others = waiting.get(key) ?? [];
    const at = others.findIndex((other) => belong(other, flow));
    const other = others[at];
    if (other === undefined) {
      flows.push(flow);
      waiting.set(key, [...others, flow]);
      continue;
    }
    others.splice(at, 1);
    if (flow.responseSeq === undefined) complete(other, flow, { ...other });
    else complete(other, { ...other }, flow);
  }
  return flows;
}

function belong(one: Flow, other: Flow): boolean {
  if ((one.responseSeq === undefined) === (other.responseSeq === undefined)) return false;
  const [request, response] = one.responseSeq === undefined ? [one, other] : [other, one];
  return toMicros(request.timestamp) <= toMicros(response.timestamp);
}

/** Merges a flow and the flow of its response. */
function complete(flow: Flow, request: Flow, response: Flow): void {
  Object.assign(flow, response, {
    requestSeq: request.requestSeq,
    timestamp: request.timestamp,
    micros: toMicros(response.timestamp) - toMicros(request.timestamp),
    pid: response.pid ?? request.pid,
    process: response.process ?? request.process,
  });
}
