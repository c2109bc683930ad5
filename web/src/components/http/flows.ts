import type { ListedEvent } from "@/api/client";
import { toMicros } from "@/lib/time";

/** The requested fields of HTTP events; the details load the rest. */
export const flowFields = [
  "data.kind",
  "data.flow_id",
  "data.role",
  "data.client",
  "data.request.method",
  "data.request.url",
  "data.request.scheme",
  "data.request.host",
  "data.request.port",
  "data.request.path",
  "data.request.body.size",
  "data.response.status_code",
  "data.response.body.size",
  'data.response.headers["Content-Type"]',
  'data.response.headers["content-type"]',
].join(",");

/** Who saw a flow: the client, the server, or a proxy between them. */
type Side = "client" | "server" | "proxy";

/** A request, and its response if there is one, as one side saw them. */
export interface Flow {
  side: Side;
  /** The address of the client; "" if unknown. */
  client: string;
  /** The seq of the most informative event: the response if there is one. */
  seq: number;
  requestSeq?: number;
  responseSeq?: number;
  method: string;
  url: string;
  /** http or https; "" if unknown. */
  scheme: string;
  host: string;
  port?: number;
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
  const { role, client } = { role: fields["data.role"], client: fields["data.client"] };
  return {
    side: role === "client" || role === "server" ? role : "proxy",
    client: Array.isArray(client) ? client.join(" ") : "",
    seq: event.seq,
    ...(isResponse ? { responseSeq: event.seq } : { requestSeq: event.seq }),
    method: text(fields["data.request.method"]) || (event.operation ?? ""),
    url,
    scheme: text(fields["data.request.scheme"]) || (/^(https?):/.exec(url)?.[1] ?? ""),
    host: text(fields["data.request.host"]),
    port: number(fields["data.request.port"]),
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
      id === undefined
        ? `${flow.side} ${flow.client} ${flow.method} ${flow.url} ${flow.pid} ${flow.requestBytes}`
        : `id ${String(id)}`;
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

/** A request and its response, with all sides that saw it. */
export interface Exchange extends Flow {
  /** The flows of the other sides, such as the server's beside the client's. */
  others: Flow[];
}

const sides: readonly Side[] = ["client", "proxy", "server"];
/** Clocks of two reporters on a machine may differ by this much, and some report whole milliseconds. */
const slackMicros = 5000;

/**
 * Joins the flows of one exchange that several sides saw: they have the same request, the
 * same client if both know it, and overlap in time. The client's flow is the first.
 */
export function joinSides(flows: readonly Flow[]): Exchange[] {
  const exchanges: Exchange[] = [];
  const byRequest = new Map<string, Exchange[]>();
  for (const flow of flows) {
    const key = `${flow.method} ${flow.url}`;
    const known = byRequest.get(key) ?? [];
    const at = known.findIndex((exchange) => isSame(exchange, flow));
    const exchange = known[at];
    if (!exchange) {
      const made = { ...flow, others: [] };
      exchanges.push(made);
      byRequest.set(key, [...known, made]);
      continue;
    }
    const { others, ...first } = exchange;
    const all = [first, ...others, flow].sort((a, b) => sides.indexOf(a.side) - sides.indexOf(b.side));
    Object.assign(exchange, all[0], { others: all.slice(1) });
    // The flow of one side may lack what another has.
    const answered = all.find((each) => each.status !== undefined);
    if (exchange.status === undefined && answered) {
      exchange.status = answered.status;
      exchange.contentType = answered.contentType;
      exchange.responseBytes = answered.responseBytes;
    }
    if (exchange.others.length === sides.length - 1) known.splice(at, 1);
  }
  return exchanges;
}

function isSame(exchange: Exchange, flow: Flow): boolean {
  const seen: Flow[] = [exchange, ...exchange.others];
  return seen.every(
    (other) =>
      other.side !== flow.side &&
      (other.client === "" || flow.client === "" || other.client === flow.client) &&
      toMicros(other.timestamp) <= endOf(flow) + slackMicros &&
      toMicros(flow.timestamp) <= endOf(other) + slackMicros,
  );
}

/** The time of the response; without one, a minute after the request. */
function endOf(flow: Flow): number {
  return toMicros(flow.timestamp) + (flow.micros ?? (flow.requestSeq === undefined ? 0 : 60e6));
}
