import { type Agent, useStartableAgents } from "@/api/queries";
import { inputClass } from "@/components/ui/field";

interface Props {
  id?: string;
  /** ID of the agent; "" for the backend's own. */
  value: string;
  onChange: (id: string) => void;
  className?: string;
}

const states: Record<Agent["status"], string> = { up: "", down: " (offline)", unknown: " (not started yet)" };

/** Chooses the agent of a session. There is nothing to choose with a single agent: it shows nothing. */
export function AgentSelect({ id, value, onChange, className = "" }: Props) {
  const agents = useStartableAgents();
  if (agents.length < 2) return null;
  return (
    <select
      id={id}
      aria-label="Agent"
      title="The machine on which the file runs"
      className={`${inputClass} h-8 ${className}`}
      value={agents.some((agent) => agent.id === value) ? value : (agents[0]?.id ?? "")}
      onChange={(event) => onChange(event.target.value)}
    >
      {agents.map((agent) => (
        <option key={agent.id} value={agent.id}>
          {agent.name + states[agent.status]}
        </option>
      ))}
    </select>
  );
}
