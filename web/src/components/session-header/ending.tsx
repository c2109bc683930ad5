import { useQuery } from "@tanstack/react-query";
import { api, call, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { useView } from "@/hooks/view";

const fields = "data.reason,data.exitCode,data.signal";

/** How the uploaded program ended. A click opens the event of its end, which has the program's output. */
export function Ending({ session }: { session: Session }) {
  const { change } = useView();
  const end = useQuery({
    queryKey: keys.of(session.id, "ending", session.state, session.monitoring_started),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/events", {
          params: {
            path: { sessionId: session.id },
            query: { filter: endFilter(session), order: "desc", limit: 1, fields },
          },
          signal,
        }),
      ),
    // The program may end long before the monitoring does.
    refetchInterval: (query) =>
      session.state === "active" && !query.state.data?.events.length ? 3000 : false,
  });
  const event = end.data?.events[0];
  if (!event) return null;
  return (
    <button
      type="button"
      className="rounded px-1 hover:bg-hover hover:text-ink"
      title="Open its last event, which has the program's output"
      onClick={() => change({ seq: event.seq }, { push: true })}
    >
      <SafeText text={endText(event.fields ?? {})} limit={120} />
    </button>
  );
}

/** Selects the end of the latest run; earlier runs have ends of their own. */
function endFilter(session: Session): string {
  const since = session.monitoring_started ? ` and time >= ${session.monitoring_started}` : "";
  return `type = session_end${since}`;
}

/** Describes an end, such as "Ended with exit code 3", "Killed by signal 9" or "Ended: timeout". */
export function endText(fields: Record<string, unknown>): string {
  const { "data.reason": reason, "data.exitCode": code, "data.signal": signal } = fields;
  if (signal !== undefined && signal !== "" && signal !== 0) return `Killed by signal ${String(signal)}`;
  if (reason === "exited" || reason === undefined) {
    return typeof code === "number" ? `Ended with exit code ${code}` : "Ended";
  }
  return `Ended: ${String(reason).replaceAll("_", " ")}`;
}
