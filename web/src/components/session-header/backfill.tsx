import { useQueryClient } from "@tanstack/react-query";
import { Hourglass } from "lucide-react";
import { useEffect } from "react";
import type { SessionDetail } from "@/api/client";
import { keys } from "@/api/queries";

type State = NonNullable<SessionDetail["backfill"]>;

/** Says that the backfill of the session is not complete. When it is, every view loads its data again. */
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
      title="An older program recorded these events. Until the backend has filled them in, processes, filters and counts miss some of them. The list of all events is complete."
    >
      <Hourglass size={15} aria-hidden />
      Processes and filters are being filled in: {percent(backfill)} %
    </span>
  );
}

/** The share of the events that are filled in, in percent. It is 99 at most: the backend reports no backfill when it is complete. */
export function percent({ done, total }: State): number {
  return Math.min(Math.floor((100 * done) / total), 99);
}
