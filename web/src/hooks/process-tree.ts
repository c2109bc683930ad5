import { useQuery } from "@tanstack/react-query";
import type { ProcessRow } from "@/api/client";
import { fetchTree, type TreeSearch, wholeTree } from "@/api/process-tree";
import { keys } from "@/api/queries";
import { processFilter, type View } from "@/lib/view";
import { refetchBehind, useLive } from "./live";

/** The rows of a page. A screen shows rows of at most two pages. */
const pageRows = 200;
const liveMillis = 3000;

/** A page of the process tree. Its rows stay until another search is answered. */
export function useTreePage(sessionId: string, search: TreeSearch, page: number, enabled = true) {
  const live = useLive();
  return useQuery({
    queryKey: keys.of(sessionId, "process-tree", search, page),
    queryFn: ({ signal }) =>
      fetchTree(sessionId, search, { offset: page * pageRows, limit: pageRows }, signal),
    enabled,
    // Rows of another page would be wrong.
    placeholderData: (old, query) => (query?.queryKey.at(-1) === page ? old : undefined),
    refetchInterval: ({ state: { data } }) => refetchBehind(data?.up_to, live, liveMillis),
  });
}

/** Returns the rows from first to last by their index; undefined while they load. */
export function useTreeRows(
  sessionId: string,
  search: TreeSearch,
  { first, last, count }: { first: number; last: number; count: number },
): (index: number) => ProcessRow | undefined {
  const page = Math.floor(first / pageRows);
  const other = Math.max(page + 1, Math.floor(last / pageRows));
  const { data: here } = useTreePage(sessionId, search, page);
  const { data: next } = useTreePage(sessionId, search, other, other * pageRows < count);
  return (index) => {
    const at = Math.floor(index / pageRows);
    const data = at === page ? here : at === other ? next : undefined;
    return data?.rows[index - at * pageRows];
  };
}

/** The row of a process, and its index in a search; null if the search does not list it. */
export function useTreeRow(sessionId: string, search: TreeSearch, id: string | undefined) {
  const live = useLive();
  return useQuery({
    queryKey: keys.of(sessionId, "process-row", search, id),
    queryFn: async ({ signal }) => {
      const { rows, offset, up_to } = await fetchTree(sessionId, search, { around: id, limit: 1 }, signal);
      return { row: rows[0] ?? null, index: offset, upTo: up_to };
    },
    enabled: id !== undefined,
    placeholderData: (old, query) => (query?.queryKey.at(-1) === id ? old : undefined),
    refetchInterval: ({ state: { data } }) => refetchBehind(data?.upTo, live, liveMillis),
  });
}

/** The id of the chosen process. Old links have only its pid: it is the first one of that pid. */
export function useChosenId(sessionId: string, process: View["process"]): string | undefined {
  const filter = processFilter(process);
  const { data } = useQuery({
    queryKey: keys.of(sessionId, "chosen-process", filter),
    queryFn: async ({ signal }) => {
      const { rows } = await fetchTree(sessionId, { ...wholeTree, filter }, { limit: 1000 }, signal);
      return rows.find((row) => row.matches)?.id ?? null;
    },
    enabled: process !== undefined && process.id === undefined,
  });
  return process && (process.id ?? data ?? undefined);
}
