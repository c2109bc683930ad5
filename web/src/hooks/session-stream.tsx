import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";
import { api, call, type ListedEvent, type Session, type SessionDetail } from "@/api/client";
import { keys } from "@/api/queries";
import { openStream, type StreamState } from "@/api/stream";

/** Takes events as they come, by seq, each once; upTo is how far the stream is, filtered or not. */
export type EventListener = (events: readonly ListedEvent[], upTo: number) => void;

interface SessionStream {
  sessionId: string;
  /** The filter that the stream's events are selected by. */
  filter: string;
  state: StreamState;
  /** Set once the session was deleted, here or elsewhere. */
  deleted: boolean;
  subscribe: (listener: EventListener) => () => void;
  /** The seq up to which listeners were told; what is newer comes through subscribe. */
  position: () => number;
}

const Context = createContext<SessionStream | undefined>(undefined);

/** The stream of the session on screen. */
export function useSessionStream(): SessionStream {
  const stream = useContext(Context);
  if (!stream) throw new Error("useSessionStream is for what stands within a SessionStreamProvider");
  return stream;
}

interface Props {
  sessionId: string;
  filter: string;
  /** The seq after which the stream begins. */
  after: number;
  children: ReactNode;
}

/**
 * Opens the one stream of the page, for the session and the filter. Changes of the
 * session go into the query cache; events to whoever subscribes.
 */
export function SessionStreamProvider({ sessionId, filter, after, children }: Props) {
  const queries = useQueryClient();
  const [state, setState] = useState<StreamState>("connecting");
  const [deleted, setDeleted] = useState(false);
  const listeners = useRef(new Set<EventListener>());
  const start = useRef(after);

  useEffect(() => {
    let position = start.current;
    let received: ListedEvent[] = [];
    const tell = (events: readonly ListedEvent[], upTo: number) => {
      position = upTo;
      start.current = upTo;
      for (const listener of listeners.current) listener(events, upTo);
    };
    const query = filter === "" ? "" : `&filter=${encodeURIComponent(filter)}`;
    return openStream({
      url: () => `/api/sessions/${encodeURIComponent(sessionId)}/stream?after=${position}${query}`,
      on: {
        message: (data) => {
          received = data as ListedEvent[];
        },
        session: (data) => updateSession(data as Session),
        deleted: () => setDeleted(true),
      },
      onId: (id) => {
        tell(received, Math.max(position, Number(id)));
        received = [];
      },
      onState: setState,
      poll: async (signal) => {
        for (;;) {
          const page = await call(
            api.GET("/api/sessions/{sessionId}/events", {
              params: {
                path: { sessionId },
                query: { after: position, limit: 1000, filter: filter || undefined },
              },
              signal,
            }),
          );
          const last = page.events.at(-1);
          if (last) tell(page.events, last.seq);
          if (!page.has_more) break;
        }
        await queries.invalidateQueries({ queryKey: keys.session(sessionId), exact: true });
      },
    });

    function updateSession(session: Session) {
      queries.setQueryData<SessionDetail>(keys.session(sessionId), (old) => old && { ...old, ...session });
    }
  }, [sessionId, filter, queries]);

  const value = useMemo<SessionStream>(
    () => ({
      sessionId,
      filter,
      state,
      deleted,
      subscribe: (listener) => {
        listeners.current.add(listener);
        return () => listeners.current.delete(listener);
      },
      position: () => start.current,
    }),
    [sessionId, filter, state, deleted],
  );
  return <Context value={value}>{children}</Context>;
}
