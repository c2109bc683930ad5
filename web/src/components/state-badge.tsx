import type { Session } from "@/api/client";
import { stateNames } from "@/lib/session";

const looks: Record<Session["state"], string> = {
  created: "text-muted before:bg-line-strong",
  starting: "text-accent before:bg-accent before:animate-pulse motion-reduce:before:animate-none",
  active: "text-good before:bg-good before:animate-pulse motion-reduce:before:animate-none",
  failed: "text-bad before:bg-bad",
  ended: "text-muted before:border before:border-line-strong",
};

/** The state of a session. An active session whose agent is silent may have ended. */
export function StateBadge({ session }: { session: Pick<Session, "state" | "agent_silent_since"> }) {
  const { state } = session;
  const isSilent = state === "active" && session.agent_silent_since !== null;
  return (
    <span
      className={`inline-flex items-center gap-1.5 text-xs font-medium whitespace-nowrap before:size-2 before:shrink-0 before:rounded-full ${isSilent ? "text-warn before:bg-warn" : looks[state]}`}
    >
      {isSilent ? "Agent silent" : stateNames[state]}
    </span>
  );
}
