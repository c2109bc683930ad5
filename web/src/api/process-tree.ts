import type { View } from "@/lib/view";
import { api, call } from "./client";

/** Which processes of a session are listed, and how. */
export interface TreeSearch {
  /** A text in the pid, the name, the image and the command line; "" for all processes. */
  q: string;
  /** The filter that selects an event of each process; "" for all processes. */
  filter: string;
  /** The ids of the processes whose descendants are left out. */
  closed: readonly string[];
}

export const wholeTree: TreeSearch = { q: "", filter: "", closed: [] };

interface PlaceInTree {
  offset?: number;
  around?: string;
  limit: number;
}

/** Returns a page of the process tree: its rows from top to bottom. */
export function fetchTree(sessionId: string, search: TreeSearch, place: PlaceInTree, signal?: AbortSignal) {
  const { q, filter, closed } = search;
  return call(
    api.GET("/api/sessions/{sessionId}/process-tree", {
      params: {
        path: { sessionId },
        query: {
          q: q.trim() || undefined,
          filter: filter || undefined,
          closed: closed.join(",") || undefined,
          ...place,
        },
      },
      signal,
    }),
  );
}

/** What an event says about its process. */
export interface Actor {
  seq: number;
  pid: number | null;
  process_name: string | null;
}

/**
 * Returns the selection of the process of an event, without its descendants: pids are used
 * again, so only the backend knows which process of the pid it was. It returns all processes
 * of the pid if the backend knows none.
 */
export async function processOf(
  sessionId: string,
  { seq, pid, process_name }: Actor,
): Promise<View["process"]> {
  if (pid === null) return undefined;
  const { rows } = await fetchTree(sessionId, { ...wholeTree, filter: `seq = ${seq}` }, { limit: 1000 });
  const row = rows.find((each) => each.matches);
  return { pid, name: row?.name || (process_name ?? ""), id: row?.id, alone: row && true };
}
