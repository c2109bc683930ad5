import { useQuery } from "@tanstack/react-query";
import { EyeOff } from "lucide-react";
import { api, call, type Session } from "@/api/client";
import { isLive, keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Panel } from "@/components/ui/panel";
import { useView } from "@/hooks/view";
import { plural } from "@/lib/number";
import { Fact } from "./fact";

/** A process that the agent does not record, as session_start describes it. */
interface Exclusion {
  pid: number;
  processName: string;
  imagePath?: string;
  role: string;
}

/** The browsers that a session of all processes does not record, because they display the dashboard. */
export function Exclusions({ session }: { session: Session }) {
  const { change } = useView();
  const { data } = useQuery({
    queryKey: keys.of(session.id, "exclusions"),
    queryFn: async ({ signal }) => {
      const path = { sessionId: session.id };
      const query = { filter: "type = session_start", limit: 1 };
      const page = await call(
        api.GET("/api/sessions/{sessionId}/events", { params: { path, query }, signal }),
      );
      const seq = page.events[0]?.seq;
      if (seq === undefined) return null;
      const event = await call(
        api.GET("/api/sessions/{sessionId}/events/{seq}", { params: { path: { ...path, seq } }, signal }),
      );
      return { seq, processes: browsersIn(event.data) };
    },
    refetchInterval: ({ state }) => (state.data === null && isLive(session) ? 2000 : false),
  });
  if (!data || data.processes.length === 0) return null;
  const names = [...new Set(data.processes.map((process) => process.processName))];
  return (
    <Fact label="Exclusions" isFirst>
      <Panel
        label="Processes that are not recorded"
        trigger={
          <button
            type="button"
            className="inline-flex items-center gap-1.5 rounded px-1 text-warn hover:bg-hover"
          >
            <EyeOff size={13} aria-hidden />
            <span>
              Not recorded: <SafeText text={names.join(", ")} limit={60} />
            </span>
          </button>
        }
      >
        <p>
          The agent does not record {plural(data.processes.length, "process", "processes")} of the browser
          that displayed this dashboard when the session began. It records every other program that the
          browser starts.
        </p>
        <ul className="mt-2 flex max-h-60 flex-col gap-0.5 overflow-y-auto text-xs">
          {data.processes.map(({ pid, processName, imagePath }) => (
            <li key={pid} className="break-all">
              <SafeText text={processName} limit={80} /> <span className="font-mono text-muted">{pid}</span>{" "}
              <SafeText text={imagePath ?? ""} limit={300} className="font-mono text-muted" />
            </li>
          ))}
        </ul>
        <p className="mt-2 text-xs text-muted">
          To record it, start the agent with <code>--include-dashboard</code>.{" "}
          <button
            type="button"
            className="text-accent hover:underline"
            onClick={() => change({ seq: data.seq }, { push: true })}
          >
            Show the event
          </button>
        </p>
      </Panel>
    </Fact>
  );
}

/** The browsers in the data of a session_start. Any client can send such an event, so every member may be missing. */
export function browsersIn(data: unknown): Exclusion[] {
  const list: unknown = (data as { exclusions?: unknown } | null)?.exclusions;
  if (!Array.isArray(list)) return [];
  return list.filter(
    (entry): entry is Exclusion =>
      entry?.role === "dashboard" &&
      typeof entry.pid === "number" &&
      typeof entry.processName === "string" &&
      ["string", "undefined"].includes(typeof entry.imagePath),
  );
}
