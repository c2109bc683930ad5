import { basePath } from "./base";
import { ApiError, errorFrom } from "./client";
import type { components } from "./schema";

export type CreatedSession = components["schemas"]["CreatedSession"];
type Session = components["schemas"]["Session"];

interface Options {
  /** Receives the sent share of the file, from 0 to 1. */
  onProgress: (part: number) => void;
  signal: AbortSignal;
}

/** Uploads a target file. The backend makes a session for it and an agent; "" for its own agent. */
export function uploadTarget(file: File, agent: string, options: Options): Promise<CreatedSession> {
  return send(`/api/create-session${agent && `?agent=${encodeURIComponent(agent)}`}`, file, options);
}

/** Imports a bundle. A copy gets a new session ID. */
export function importBundle(file: File, asCopy: boolean, options: Options): Promise<Session> {
  return send(`/api/sessions/import${asCopy ? "?new_id=true" : ""}`, file, options);
}

/** Sends a form with the file, by XMLHttpRequest, because fetch does not report progress. */
function send<T>(path: string, file: File, { onProgress, signal }: Options): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", basePath + path);
    request.responseType = "text";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status >= 200 && request.status < 300) resolve(body as T);
      else reject(errorFrom(body, request.status));
    };
    request.onerror = () =>
      reject(new ApiError("The connection was lost while the file was sent.", "unreachable", 0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) return reject(new DOMException("cancelled", "AbortError"));
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
