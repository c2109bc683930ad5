import type { Session } from "@/api/client";
import { stateNames } from "@/lib/session";

const looks: Record<Session["state"], string> = {
  created: "text-muted before:bg-line-strong",
  starting: "text-accent before:bg-accent before:animate-pulse motion-reduce:before:animate-none",
  active: "text-good before:bg-good before:animate-pulse motion-reduce:before:animate-none",
  failed: "text-bad before:bg-bad",
  ended: "text-muted before:border before:border-line-strong",
};

export function StateBadge({ state }: { state: Session["state"] }) {
  return (
    <span
      className={`inline-flex items-center gap-1.5 text-xs font-medium whitespace-nowrap before:size-2 before:shrink-0 before:rounded-full ${looks[state]}`}
    >
      {stateNames[state]}
    </span>
  );
}
