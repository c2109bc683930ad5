import { and } from "./filter";

/** The views of a session, by their names in the address. */
export const viewNames = ["summary", "events", "processes", "files", "http", "network", "findings"] as const;
export type ViewName = (typeof viewNames)[number];

/** The address of a view of a session. search is the selection, as writeView returns it. */
export function viewPath(sessionId: string, view: ViewName, search = ""): string {
  return `/sessions/${encodeURIComponent(sessionId)}/${view}${search && `?${search}`}`;
}

/** The reader's selection in a session. It is all in the address, so that a link shares it. */
export interface View {
  /** The filter as the reader wrote it. */
  filter: string;
  /** A span of time, both ends included; undefined for all events. */
  span?: { from: string; to: string };
  /**
   * The chosen process and, unless it is alone, all processes that descend from it. Without an
   * id it is all processes of a pid, of old links within a lifetime.
   */
  process?: { pid: number; name: string; id?: string; alone?: boolean; from?: string; to?: string };
  /** Whether routine events are hidden. */
  hidesRoutine?: true;
  /** The event whose details are open. */
  seq?: number;
}

const parameters = [
  "filter",
  "from",
  "to",
  "pid",
  "process",
  "process_id",
  "alone",
  "pid_from",
  "pid_to",
  "routine",
  "seq",
] as const;

export function readView(params: URLSearchParams): View {
  const view: View = { filter: params.get("filter") ?? "" };
  const [from, to] = [params.get("from"), params.get("to")];
  if (from && to) view.span = { from, to };
  const pid = wholeNumber(params.get("pid"));
  if (pid !== undefined) {
    view.process = {
      pid,
      name: params.get("process") ?? "",
      id: /^\d{1,19}$/.exec(params.get("process_id") ?? "")?.[0],
      alone: params.has("alone") || undefined,
      from: params.get("pid_from") ?? undefined,
      to: params.get("pid_to") ?? undefined,
    };
  }
  if (params.get("routine") === "hidden") view.hidesRoutine = true;
  view.seq = wholeNumber(params.get("seq"));
  return view;
}

/** Writes the view into the parameters of an address. It keeps all other parameters. */
export function writeView(params: URLSearchParams, view: View): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const name of parameters) next.delete(name);
  const set = (name: (typeof parameters)[number], value: string | number | undefined) => {
    if (value !== undefined && value !== "") next.set(name, String(value));
  };
  set("filter", view.filter);
  set("from", view.span?.from);
  set("to", view.span?.to);
  set("pid", view.process?.pid);
  set("process", view.process?.name);
  set("process_id", view.process?.id);
  set("alone", view.process?.alone ? "1" : undefined);
  set("pid_from", view.process?.from);
  set("pid_to", view.process?.to);
  set("routine", view.hidesRoutine ? "hidden" : undefined);
  set("seq", view.seq);
  return next;
}

/** The filter for the chosen process; "" if there is none. */
export function processFilter(process: View["process"]): string {
  if (!process) return "";
  if (process.id !== undefined) return `${process.alone ? "only" : "under"}("${process.id}")`;
  return and(
    `pid = ${process.pid}`,
    process.from && `time >= ${process.from}`,
    process.to && `time <= ${process.to}`,
  );
}

/** The whole view as one filter, on request without its span. */
export function viewFilter(view: View, parts: { span: boolean } = { span: true }): string {
  const span = parts.span && view.span ? `time >= ${view.span.from} and time <= ${view.span.to}` : "";
  const routine = view.hidesRoutine ? "not routine = true" : "";
  return and(view.filter, processFilter(view.process), span, routine);
}

function wholeNumber(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
