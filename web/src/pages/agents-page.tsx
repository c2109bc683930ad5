import { Plus, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { useAgents } from "@/api/queries";
import { AddAgent } from "@/components/agents/add-agent";
import { AgentCard } from "@/components/agents/agent-card";
import { ForRole } from "@/components/for-role";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { byId, focusIds, useArrival } from "@/hooks/focus";

/** All agents, and how to add one. */
export default function AgentsPage() {
  const { data, error, isPending, refetch } = useAgents();
  const [isAdding, setIsAdding] = useState(false);
  useArrival(data !== undefined, () => byId(focusIds.addAgent));
  return (
    <>
      <div className="flex h-12 items-center gap-2 border-b border-line bg-surface px-4">
        <h1 className="flex-1 text-base font-semibold">Agents</h1>
        <ForRole least="admin">
          <Button id={focusIds.addAgent} look="primary" onClick={() => setIsAdding(true)}>
            <Plus size={15} aria-hidden /> Add agent
          </Button>
        </ForRole>
      </div>
      {data && data.keyless.length > 0 && (
        <p className="flex gap-2 bg-warn-soft px-4 py-2 text-sm text-warn">
          <TriangleAlert size={16} className="mt-0.5 shrink-0" aria-hidden />
          <span>
            AGENT_ALLOW lets agents send without a key from <SafeText text={data.keyless.join(", ")} />.
            Everyone there can send events as any agent.
          </span>
        </p>
      )}
      {isPending && <LoadingState label="Loading the agents" />}
      {!isPending && !data && <ErrorState error={error} retry={() => void refetch()} />}
      {data && (
        <ul className="grid min-h-0 flex-1 content-start gap-3 overflow-auto p-4 md:grid-cols-2 2xl:grid-cols-4">
          {data.agents.map((agent) => (
            <li key={agent.id} className="rounded-md border border-line bg-surface p-3">
              <AgentCard agent={agent} isFull />
            </li>
          ))}
        </ul>
      )}
      {isAdding && <AddAgent onClose={() => setIsAdding(false)} />}
    </>
  );
}
