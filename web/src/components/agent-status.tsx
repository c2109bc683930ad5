import { CircleAlert, Plus } from "lucide-react";
import { useState } from "react";
import { type Agent, useAgents, useStartableAgents } from "@/api/queries";
import { useConnection } from "@/hooks/connection";
import { focusIds } from "@/hooks/focus";
import { useNow } from "@/hooks/now";
import { useSettings } from "@/hooks/settings";
import { formatAgo, formatDateTime, type Zone } from "@/lib/time";
import { AddAgent } from "./agents/add-agent";
import { ForRole } from "./for-role";
import { SafeText } from "./safe-text";
import { Button } from "./ui/button";
import { Panel } from "./ui/panel";

type Status = Agent["status"];

const words: Record<Status, string> = {
  up: "Agent online",
  down: "Agent offline",
  unknown: "Agent status unknown",
};
const dots: Record<Status, string> = { up: "bg-good", down: "bg-bad", unknown: "bg-line-strong" };

/** Whether agents are reachable. A click lists all of them and their limits. */
export function AgentStatus() {
  const { health, lostSince } = useConnection();
  const agents = useStartableAgents();
  const [isOpen, setIsOpen] = useState(false);
  const [isAdding, setIsAdding] = useState(false);
  const agent = health?.agent;
  if (!agent || lostSince !== undefined) return null;
  const up = agents.filter((one) => one.status === "up").length;
  const many = agents.length > 1;
  return (
    <>
      <Panel
        label="Agents"
        align="end"
        className="w-96"
        open={isOpen}
        onOpenChange={setIsOpen}
        trigger={
          <button
            id={focusIds.agents}
            type="button"
            className="flex h-7 items-center gap-1.5 rounded px-2 text-xs text-muted hover:bg-hover"
          >
            <Dot status={many ? (up > 0 ? "up" : "down") : agent.status} />
            {many ? (
              <span className="whitespace-nowrap">
                {up} of {agents.length} agents<span className="max-sm:sr-only"> online</span>
              </span>
            ) : (
              words[agent.status]
            )}
          </button>
        }
      >
        <Agents fallback={agent} />
        <ForRole least="admin">
          <p className="border-t border-line p-2">
            <Button
              look="ghost"
              size="small"
              onClick={() => {
                setIsOpen(false);
                setIsAdding(true);
              }}
            >
              <Plus size={14} aria-hidden /> Add agent
            </Button>
          </p>
        </ForRole>
      </Panel>
      {isAdding && <AddAgent onClose={() => setIsAdding(false)} />}
    </>
  );
}

function Dot({ status }: { status: Status }) {
  return <span className={`size-2 shrink-0 rounded-full ${dots[status]}`} aria-hidden />;
}

function Agents({ fallback }: { fallback: { url: string; error?: string } }) {
  const agents = useAgents();
  if (!agents.data) return <p className="p-3 text-xs text-muted">{fallback.error ?? fallback.url}</p>;
  return (
    <ul>
      {agents.data.agents.map((agent) => (
        <li key={agent.id} className="border-b border-line p-3 last:border-0">
          <AgentCard agent={agent} />
        </li>
      ))}
    </ul>
  );
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

function AgentCard({ agent }: { agent: Agent }) {
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
