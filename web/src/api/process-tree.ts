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
