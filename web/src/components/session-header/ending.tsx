import { useQuery } from "@tanstack/react-query";
import { api, call, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { useView } from "@/hooks/view";

const fields = "data.reason,data.exitCode,data.signal";

/** How the uploaded program ended, as the agent told; a press opens the event, which has what it printed. */
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
    // It may end long before anyone stops the monitoring.
    refetchInterval: (query) =>
      session.state === "active" && !query.state.data?.events.length ? 3000 : false,
  });
  const event = end.data?.events[0];
  if (!event) return null;
  return (
    <button
      type="button"
      className="rounded px-1 hover:bg-hover hover:text-ink"
      title="Its last event, with what it printed"
      onClick={() => change({ seq: event.seq }, { push: true })}
    >
      <SafeText text={endText(event.fields ?? {})} limit={120} />
    </button>
  );
}

/** The end of the latest start: an earlier one's is of an earlier run. */
function endFilter(session: Session): string {
  const since = session.monitoring_started ? ` and time >= ${session.monitoring_started}` : "";
  return `type = session_end${since}`;
}

/** "Ended with exit code 3", "Killed by signal 9", "Ended: timeout". */
export function endText(told: Record<string, unknown>): string {
  const { "data.reason": reason, "data.exitCode": code, "data.signal": signal } = told;
  if (signal !== undefined && signal !== "" && signal !== 0) return `Killed by signal ${String(signal)}`;
  if (reason === "exited" || reason === undefined) {
    return typeof code === "number" ? `Ended with exit code ${code}` : "Ended";
  }
  return `Ended: ${String(reason).replaceAll("_", " ")}`;
}
