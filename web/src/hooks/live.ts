import { useSyncExternalStore } from "react";
import { useSession } from "@/api/queries";
import { useSessionStream } from "./session-stream";

/** The counts of a session's events. Every count on the page comes from here. */
interface Live {
  /** The newest seq. */
  upTo: number;
  /** The stored events that have not expired; undefined while they are counted. */
  events: number | undefined;
  /** The events that the view selects; undefined while they are counted. */
  selected: number | undefined;
  /** The same by type. */
  types: Readonly<Record<string, number>> | undefined;
}

export function useLive(): Live {
  const { sessionId, filter, counts } = useSessionStream();
  const { data: session } = useSession(sessionId);
  const { upTo: streamed, types } = useSyncExternalStore(counts.subscribe, counts.getState);
  const { expected = 0, present = 0 } = session?.completeness ?? {};
  const upTo = Math.max(streamed, session?.event_count ?? 0, expected);
  const events = session && present + upTo - expected;
  const sum = types && Object.values(types).reduce((sum, n) => sum + n, 0);
  return { upTo, events, selected: filter === "" ? events : events === 0 ? 0 : sum, types };
}

/**
 * The interval for the refetch of a summary of the session's events: it is refetched only
 * while it lacks events that the page knows of.
 */
export function refetchBehind(
  answered: number | undefined,
  { upTo }: Pick<Live, "upTo">,
  millis: number,
): number | false {
  return answered !== undefined && answered < upTo ? millis : false;
}
