import { CircleAlert } from "lucide-react";
import { Fragment } from "react";
import type { Agent } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { useNow } from "@/hooks/now";
import { useSettings } from "@/hooks/settings";
import { formatCount, plural } from "@/lib/number";
import { formatAgo, formatDateTime, type Zone } from "@/lib/time";

type Status = Agent["status"];

const dots: Record<Status, string> = { up: "bg-good", down: "bg-bad", unknown: "bg-line-strong" };

export function Dot({ status }: { status: Status }) {
  return <span className={`size-2 shrink-0 rounded-full ${dots[status]}`} aria-hidden />;
}

/** When the agent was heard of. Heartbeats may arrive from an agent that the backend cannot call. */
function seenText({ status, last_seen_at, heartbeat_at }: Agent, zone: Zone, now: number): string {
  if (!last_seen_at) return "";
  const ago = formatAgo(last_seen_at, zone, now);
  if (status !== "down") return `seen ${ago}`;
  return heartbeat_at === last_seen_at
    ? `last heartbeat ${ago}`
    : `last seen ${formatDateTime(last_seen_at, zone)}`;
}

interface Props {
  agent: Agent;
  /** Shows all that is known, not only what matters while a session runs. */
  isFull?: boolean;
}

/** An agent, and what it cannot do on its machine. */
export function AgentCard({ agent, isFull = false }: Props) {
  const { zone } = useSettings();
  const now = useNow(5000);
  const limited = agent.capabilities.filter((capability) => !capability.supported);
  const about = [agent.platform, agent.arch, agent.sensor, agent.version].filter((part) => part !== "");
  return (
    <>
      <p className="flex items-center gap-2">
        <Dot status={agent.status} />
        <SafeText text={agent.name} limit={80} className="font-medium" />
        <span className="min-w-0 flex-1 truncate text-right text-2xs text-muted">
          {agent.fetches_work ? "fetches its work" : <SafeText text={agent.url} limit={200} />}
        </span>
      </p>
      <p className="mt-1 text-xs text-muted">
        <SafeText text={about.join(" · ")} limit={200} />
        {agent.last_seen_at && `${about.length > 0 ? ", " : ""}${seenText(agent, zone, now)}`}
      </p>
      {agent.last_error !== "" && (
        <p className={`mt-1 text-xs break-words ${agent.status === "down" ? "text-bad" : "text-muted"}`}>
          <SafeText text={agent.last_error} />
        </p>
      )}
      {isFull && (
        <dl className="mt-2 grid grid-cols-[auto_1fr] gap-x-3 gap-y-0.5 text-xs">
          {facts(agent).map(([name, value]) => (
            <Fragment key={name}>
              <dt className="text-muted">{name}</dt>
              <dd className="min-w-0 break-words">
                <SafeText text={value} limit={200} />
              </dd>
            </Fragment>
          ))}
        </dl>
      )}
      {limited.length > 0 && (
        <ul className="mt-2 flex flex-col gap-1.5 text-xs">
          {limited.map((capability) => (
            <li key={capability.name} className="flex gap-1.5">
              <CircleAlert size={14} className="mt-px shrink-0 text-warn" aria-hidden />
              <span>
                <span className="font-medium">
                  No <SafeText text={capability.name} limit={80} />
                </span>
                {": "}
                <SafeText text={capability.reason ?? "no reason given"} limit={400} />
                {capability.remedy && (
                  <span className="block text-muted">
                    <SafeText text={capability.remedy} limit={400} />
                  </span>
                )}
              </span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** What the last heartbeat of the agent said. */
function facts({ id, address, sessions, heartbeat_at, delivery }: Agent): [string, string][] {
  if (heartbeat_at === null) return [["ID", id]];
  const { delivered = 0, lost = 0, queued_events: queued = 0, spooled_events: spooled = 0 } = delivery;
  return [
    ["ID", id],
    ["Address", address],
    ["Sessions", sessions.length === 0 ? "none" : formatCount(sessions.length)],
    ["Delivered", plural(delivered, "event")],
    ["On its way", plural(queued + spooled, "event")],
    ["Lost", plural(lost, "event")],
  ];
}
