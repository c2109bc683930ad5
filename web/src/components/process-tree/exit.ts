import { useQuery } from "@tanstack/react-query";
import { api, call, type Process } from "@/api/client";
import { keys } from "@/api/queries";

const fields =
  "data.exitCode,data.signal,data.signalName,data.metadata.userId,data.currentDirectory,data.newUserId,data.newUserName";

/**
 * Returns the exit, the user and the working directory that the events of a process report, and
 * the seq of its creation; undefined while they load.
 */
export function useExit(sessionId: string, { id, pid, started_at, last_seen }: Process) {
  const own = `only("${id}")`;
  // The actor of a creation may be the parent.
  const created = `type = process_creation and data.newProcessId = ${pid} and time >= ${started_at} and time <= ${last_seen}`;
  const { data } = useQuery({
    queryKey: keys.of(sessionId, "exit", own),
    queryFn: async ({ signal }) => {
      const [exit, last, creation] = await Promise.all(
        [`type = process_exit and ${own}`, own, created].map(async (filter) => {
          const query = { filter, order: "desc" as const, limit: 1, fields };
          const path = { sessionId };
          const page = await call(
            api.GET("/api/sessions/{sessionId}/events", { params: { path, query }, signal }),
          );
          return page.events[0];
        }),
      );
      return {
        exit: exitText(exit?.fields),
        user: userText((exit ?? last)?.fields, creation?.fields),
        directory: creation?.fields?.["data.currentDirectory"],
        creation: creation?.seq,
      };
    },
  });
  return data;
}

/**
 * "anna (1000)", or "1000" if the creation of the process has no name of this user, or "unknown".
 */
export function userText(
  fields: Record<string, unknown> | undefined,
  creation: Record<string, unknown> | undefined,
): string {
  const id = fields?.["data.metadata.userId"] ?? undefined;
  if (id === undefined) return "unknown";
  const name = creation?.["data.newUserId"] === id && creation?.["data.newUserName"];
  return name ? `${String(name)} (${String(id)})` : String(id);
}

/** "Exit code 3", "Signal SIGKILL", or "unknown" if no event reports the exit. */
export function exitText(fields: Record<string, unknown> | undefined): string {
  const code = fields?.["data.exitCode"];
  const signal = fields?.["data.signalName"] || fields?.["data.signal"];
  if (signal) return `Signal ${String(signal)}`;
  return typeof code === "number" && code >= 0 ? `Exit code ${code}` : "unknown";
}
