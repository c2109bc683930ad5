import { useQueryClient } from "@tanstack/react-query";
import { Hourglass } from "lucide-react";
import { useEffect } from "react";
import type { SessionDetail } from "@/api/client";
import { keys } from "@/api/queries";

type State = NonNullable<SessionDetail["backfill"]>;

/** Says that what is shown of old events is not complete yet; when it is, every view asks again. */
export function Backfill({ sessionId, backfill }: { sessionId: string; backfill: State }) {
  const queries = useQueryClient();
  useEffect(
    () => () => void queries.invalidateQueries({ queryKey: keys.session(sessionId) }),
    [queries, sessionId],
  );
  return (
    <span
      role="status"
      className="inline-flex items-center gap-1.5 px-1 text-bad"
      title="These events were recorded by an older program. Until this is done, processes, filters and counts miss some of them. The list of all events is complete."
    >
      <Hourglass size={15} aria-hidden />
      Processes and filters are being filled in: {percent(backfill)} %
    </span>
  );
}

/** Of the events; never 100 before all are done. */
export function percent({ done, total }: State): number {
  return Math.min(Math.floor((100 * done) / total), 99);
}
