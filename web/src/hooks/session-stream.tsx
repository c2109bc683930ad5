import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";
import { sessionPath } from "@/api/base";
import { api, call, type ListedEvent, type Session, type SessionDetail } from "@/api/client";
import { EventCounts } from "@/api/event-counts";
import { keys, sessionQuery, useSession } from "@/api/queries";
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
    let received: ListedEvent[] = [];
    const deliver = (events: readonly ListedEvent[], upTo: number) => {
      position.current = upTo;
      counts.receive(events, upTo);
      for (const listener of listeners.current) listener(events, upTo);
    };
    const url = () => {
      const query = new URLSearchParams();
      if (position.current !== undefined) query.set("after", String(position.current));
      if (filter !== "") query.set("filter", filter);
      if (fields !== "") query.set("fields", fields);
      return sessionPath(sessionId, `/stream?${query}`);
    };
    const close = openStream({
      url,
      on: {
        message: (data) => {
          received = data as ListedEvent[];
        },
        session: (data) => updateSession(data as Session),
        deleted: () => setDeleted(true),
        expired: () => void queries.invalidateQueries({ queryKey: keys.session(sessionId), exact: true }),
      },
      onId: (id) => {
        deliver(received, Math.max(position.current ?? 0, Number(id)));
        received = [];
      },
      onState: setState,
      poll: async (signal) => {
        const now = await queries.fetchQuery({ ...sessionQuery(sessionId), staleTime: 0 });
        setStreamed(now);
        if (position.current === undefined) deliver([], now.event_count);
        for (;;) {
          const page = await call(
            api.GET("/api/sessions/{sessionId}/events", {
              params: {
                path: { sessionId },
                query: {
                  after: position.current,
                  limit: 1000,
                  filter: filter || undefined,
                  fields: fields || undefined,
                },
              },
              signal,
            }),
          );
          const last = page.events.at(-1);
          if (last) deliver(page.events, last.seq);
          if (!page.has_more) break;
        }
      },
    });
    return () => {
      close();
      counts.close();
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
