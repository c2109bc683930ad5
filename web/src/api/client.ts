import createClient from "openapi-fetch";
import { basePath } from "./base";
import { heard, unauthorized } from "./contact";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Session = Schemas["Session"];
export type SessionDetail = Schemas["SessionDetail"];
export type ListedEvent = Schemas["ListedEvent"];
export type ExportFormat = Schemas["ExportFormat"];
export type FullEvent = Schemas["ExportedEvent"];
export type Process = Schemas["Process"];
export type ProcessRow = Schemas["ProcessRow"];
export type Histogram = Schemas["Histogram"];
export type Expiration = Schemas["Expiration"];
export type Rule = Schemas["RuleFields"];
export type RuleDetail = Schemas["RuleDetail"];
export type Level = Schemas["Level"];
export type ListedFinding = Schemas["ListedFinding"];
export type AuditPage = Schemas["AuditPage"];
export type Health = Schemas["Health"];
export type ErrorCode = Schemas["ErrorCode"] | "unreachable";

/** What is wrong with a rule. Lines and the characters in them count from 1. */
export interface RuleFault {
  line?: number;
  column?: number;
  reason: string;
}

/** The error of every call: an error answer of the backend, or a failure to reach it. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: ErrorCode,
    readonly status: number,
    /** What is wrong with a rule that was sent, and where. */
    readonly fault?: RuleFault,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** The API, with the types of the OpenAPI document. Use it through call. */
export const api = createClient<paths>({
  baseUrl: globalThis.location?.origin + basePath,
  fetch: async (request) => {
    const response = await globalThis.fetch(request);
    // A proxy answers 502 or 504 for a backend that it cannot reach.
    if (response.ok || response.headers.has("X-Request-Id")) heard();
    if (response.status === 401 && !new URL(request.url).pathname.endsWith("/api/me")) unauthorized();
    return response;
  },
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/**
 * Returns the answer of an API call, or throws an ApiError:
 * `const session = await call(api.GET("/api/sessions/{sessionId}", { params: { path: { sessionId } }, signal }))`.
 */
export async function call<T>(pending: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await pending;
  } catch (error) {
    throw asApiError(error);
  }
  if (!answer.response.ok) throw errorFrom(answer.error, answer.response.status);
  return answer.data as T;
}

/** Returns the error for an unsuccessful answer. */
export function errorFrom(body: unknown, status: number): ApiError {
  if (isErrorBody(body)) {
    const { error, code, line, column, reason } = body;
    return new ApiError(error, code, status, reason === undefined ? undefined : { line, column, reason });
  }
  return new ApiError(`The backend answered ${status} without a reason.`, "internal", status);
}

/** Turns an error of fetch into an ApiError. An abort stays an AbortError. */
function asApiError(error: unknown): unknown {
  if (error instanceof DOMException && error.name === "AbortError") return error;
  if (error instanceof ApiError) return error;
  return new ApiError(
    "The backend cannot be reached. The dashboard retries automatically.",
    "unreachable",
    0,
  );
}

function isErrorBody(body: unknown): body is Schemas["Error"] {
  return (
    typeof body === "object" &&
    body !== null &&
    "error" in body &&
    typeof body.error === "string" &&
    "code" in body
  );
}

/** Returns the message of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
