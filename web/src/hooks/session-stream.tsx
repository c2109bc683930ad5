import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";
import { sessionPath } from "@/api/base";
import { api, call, type ListedEvent, type Session, type SessionDetail } from "@/api/client";
import { EventCounts } from "@/api/event-counts";
import { keys, sessionQuery, useSession } from "@/api/queries";
import type { components } from "@/api/schema";
import { openStream, type StreamState } from "@/api/stream";

/**
 * Receives new events in the order of seq, each once. upTo is the seq that the stream has
 * reached, including events that the filter excludes.
 */
export type EventListener = (events: readonly ListedEvent[], upTo: number) => void;

interface SessionStream {
  sessionId: string;
  /** The session as it was sent last, by the stream or a poll; undefined before that. */
  session: Session | undefined;
  /** The filter of the stream. */
  filter: string;
  /** The fields of the data that come with each event. */
  fields: string;
  state: StreamState;
  /** The counts of the events that the filter selects. */
  counts: EventCounts;
  /** Whether the session was deleted, here or elsewhere. */
  deleted: boolean;
  subscribe: (listener: EventListener) => () => void;
  /** The seq up to which listeners have received the events. subscribe brings newer ones. */
  position: () => number;
}

/** The shortest time between two deliveries, or fetches of findings, which redraw the page. */
const restMillis = 250;
/** So many events are delivered at once: timers of a hidden page may be a minute late. */
const maxWaiting = 5000;

const Context = createContext<SessionStream | undefined>(undefined);

/** The stream of the session on screen. */
export function useSessionStream(): SessionStream {
  const stream = useContext(Context);
  if (!stream) throw new Error("useSessionStream must be called within a SessionStreamProvider");
  return stream;
}

interface Props {
  sessionId: string;
  filter: string;
  /** Paths into the data, separated by commas. */
  fields: string;
  children: ReactNode;
}

/**
 * Opens the one stream of the page, for the session and the filter. It puts changes of the
 * session into the query cache and passes events to the listeners.
 */
export function SessionStreamProvider({ sessionId, filter, fields, children }: Props) {
  const queries = useQueryClient();
  const [state, setState] = useState<StreamState>("connecting");
  const [deleted, setDeleted] = useState(false);
  const listeners = useRef(new Set<EventListener>());
  const [streamed, setStreamed] = useState<Session>();
  const { data: details } = useSession(sessionId);
  // Lists begin at the position of the stream, which its first message has.
  const isPlaced = streamed !== undefined || state === "refused";
  const session: Session | undefined = isPlaced ? (details ?? streamed) : undefined;
  // The seq that the stream has reached; undefined until the stream reports its first position.
  const position = useRef<number>(undefined);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another session or filter has other counts
  const counts = useMemo(() => new EventCounts(position.current), [sessionId, filter]);

  useEffect(() => {
    let message: ListedEvent[] = [];
    // The stream continues after what is delivered, also if another effect drops what waits.
    let waiting: ListedEvent[] = [];
    let reached = position.current;
    let delivered = Number.NEGATIVE_INFINITY;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let found: ReturnType<typeof setTimeout> | undefined;
    const refetchFindings = () => {
      const what = { queryKey: keys.of(sessionId, "findings") };
      // The answer of a running request may be older than the change.
      const isBusy = queries.isFetching(what) > 0;
      found = isBusy ? setTimeout(refetchFindings, restMillis) : undefined;
      if (!isBusy) void queries.invalidateQueries(what);
    };
    // All listeners get the same events in one task, so the rows and the counts on the page agree.
    const deliver = () => {
      clearTimeout(timer);
      timer = undefined;
      delivered = performance.now();
      const events = waiting;
      waiting = [];
      const upTo = reached ?? 0;
      position.current = upTo;
      counts.receive(events, upTo);
      for (const listener of listeners.current) listener(events, upTo);
    };
    const receive = (events: readonly ListedEvent[], upTo: number) => {
      waiting = waiting.concat(events);
      reached = upTo;
      if (position.current === undefined || waiting.length >= maxWaiting) deliver();
      else timer ??= setTimeout(deliver, Math.max(0, delivered + restMillis - performance.now()));
    };
    const url = () => {
      const query = new URLSearchParams();
      if (reached !== undefined) query.set("after", String(reached));
      if (filter !== "") query.set("filter", filter);
      if (fields !== "") query.set("fields", fields);
      return sessionPath(sessionId, `/stream?${query}`);
    };
    const close = openStream({
      url,
      on: {
        message: (data) => {
          message = data as ListedEvent[];
        },
        session: (data) => updateSession(data as Session),
        deleted: () => setDeleted(true),
        findings: (data) => {
          const changed = data as components["schemas"]["FindingsMessage"];
          queries.setQueryData<SessionDetail>(
            keys.session(sessionId),
            (old) => old && { ...old, ...changed },
          );
          found ??= setTimeout(refetchFindings, restMillis);
        },
        expired: () => void queries.invalidateQueries({ queryKey: keys.session(sessionId), exact: true }),
      },
      onId: (id) => {
        receive(message, Math.max(reached ?? 0, Number(id)));
        message = [];
      },
      onState: setState,
      poll: async (signal) => {
        const now = await queries.fetchQuery({ ...sessionQuery(sessionId), staleTime: 0 });
        setStreamed(now);
        if (reached === undefined) receive([], now.event_count);
        for (;;) {
          const page = await call(
            api.GET("/api/sessions/{sessionId}/events", {
              params: {
                path: { sessionId },
                query: {
                  after: reached,
                  limit: 1000,
                  filter: filter || undefined,
                  fields: fields || undefined,
                },
              },
              signal,
            }),
          );
          const last = page.events.at(-1);
          if (last) receive(page.events, last.seq);
          if (!page.has_more) break;
        }
      },
    });
    return () => {
      close();
      clearTimeout(timer);
      clearTimeout(found);
    };

    function updateSession(session: Session) {
      setStreamed(session);
      queries.setQueryData(keys.streamed(sessionId), session);
      queries.setQueryData<SessionDetail>(keys.session(sessionId), (old) => old && { ...old, ...session });
    }
  }, [sessionId, filter, fields, counts, queries]);

  const value = useMemo<SessionStream>(
    () => ({
      sessionId,
      session,
      filter,
      fields,
      state,
      counts,
      deleted,
      subscribe: (listener) => {
        listeners.current.add(listener);
        return () => listeners.current.delete(listener);
      },
      position: () => position.current ?? 0,
    }),
    [sessionId, session, filter, fields, state, counts, deleted],
  );
  return <Context value={value}>{children}</Context>;
}
