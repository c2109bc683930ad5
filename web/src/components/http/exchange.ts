import type { FullEvent } from "@/api/client";
import { type Body, readBody } from "./body";
import type { CurlRequest } from "./curl";

/** A request or a response. */
interface Message {
  headers: [name: string, value: string][];
  version: string;
  body?: Body;
}

/** A request and its response, if there is one, as the details show them. */
export interface Exchange {
  method: string;
  url: string;
  request: Message;
  response?: Message & { status: number; reason: string };
  server: string;
}

type Fields = Record<string, unknown>;
const object = (value: unknown): Fields | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
const text = (value: unknown) => (typeof value === "string" ? value : "");

/** Reads an HTTP event's data; undefined if it has no request. */
export function readExchange(data: FullEvent["data"]): Exchange | undefined {
  const flow = object(data);
  const request = object(flow?.request);
  if (!flow || !request) return undefined;
  const response = object(flow.response);
  const address = object(flow.server)?.ip;
  return {
    method: text(request.method),
    url: text(request.url),
    request: messageOf(request),
    response: response && {
      ...messageOf(response),
      status: typeof response.status_code === "number" ? response.status_code : 0,
      reason: text(response.reason),
    },
    server: Array.isArray(address) ? address.map(String).join(":") : "",
  };
}

function messageOf(message: Fields): Message {
  const headers = Object.entries(object(message.headers) ?? {});
  return {
    headers: headers.map(([name, value]) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
    version: text(message.http_version),
    body: readBody(message.body),
  };
}

/** The query of a URL as pairs; [] if there is none. */
export function queryOf(url: string): [name: string, value: string][] {
  const query = url.split("#")[0]?.split("?").slice(1).join("?") ?? "";
  return [...new URLSearchParams(query)];
}

export function curlOf({ method, url, request }: Exchange): CurlRequest {
  const body = request.body;
  return { method, url, headers: request.headers, body: body && (body.text ?? body.bytes) };
}
