import { useQuery } from "@tanstack/react-query";
import { api, call, type ProcessNode } from "@/api/client";
import { keys } from "@/api/queries";

const fields = "data.exitCode,data.signal,data.signalName,data.metadata.userId";

/** What the events of a process tell about its end and its user; undefined while they load. */
export function useExit(sessionId: string, { pid, started_at, last_seen }: ProcessNode) {
  const own = `pid = ${pid} and time >= ${started_at} and time <= ${last_seen}`;
  const { data } = useQuery({
    queryKey: keys.of(sessionId, "exit", own),
    queryFn: async ({ signal }) => {
      const [exit, last] = await Promise.all(
        [`type = process_exit and ${own}`, own].map(async (filter) => {
          const query = { filter, order: "desc" as const, limit: 1, fields };
          const path = { sessionId };
          const page = await call(
            api.GET("/api/sessions/{sessionId}/events", { params: { path, query }, signal }),
          );
          return page.events[0]?.fields;
        }),
      );
      return { exit: exitText(exit), user: (exit ?? last)?.["data.metadata.userId"] };
    },
  });
  return data;
}

/** "Exit code 3", "Signal SIGKILL", or "unknown" if no event reports the exit. */
export function exitText(fields: Record<string, unknown> | undefined): string {
  const code = fields?.["data.exitCode"];
  const signal = fields?.["data.signalName"] || fields?.["data.signal"];
  if (signal) return `Signal ${String(signal)}`;
  return typeof code === "number" && code >= 0 ? `Exit code ${code}` : "unknown";
}
