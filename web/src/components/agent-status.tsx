import { useState } from "react";
import { Link } from "wouter";
import { type Agent, useAgents, useStartableAgents } from "@/api/queries";
import { useConnection } from "@/hooks/connection";
import { AgentCard, Dot } from "./agents/agent-card";
import { Panel } from "./ui/panel";

type Status = Agent["status"];

const words: Record<Status, string> = {
  up: "Agent online",
  down: "Agent offline",
  unknown: "Agent status unknown",
};

/** Whether agents are reachable. A click lists all of them and their limits. */
export function AgentStatus() {
  const { health, lostSince } = useConnection();
  const agents = useStartableAgents();
  const [isOpen, setIsOpen] = useState(false);
  const agent = health?.agent;
  if (!agent || lostSince !== undefined) return null;
  const up = agents.filter((one) => one.status === "up").length;
  const many = agents.length > 1;
  return (
    <Panel
      label="Agents"
      align="end"
      className="w-96"
      open={isOpen}
      onOpenChange={setIsOpen}
      trigger={
        <button
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
      <p className="border-t border-line px-3 py-2 text-xs">
        <Link href="/agents" className="text-accent underline" onClick={() => setIsOpen(false)}>
          More about the agents
        </Link>
      </p>
    </Panel>
  );
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
