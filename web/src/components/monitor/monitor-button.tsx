import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Play, Square } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { api, call, messageOf, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import { byId, focusIds, focusIfLost } from "@/hooks/focus";
import { useShortcut } from "@/hooks/shortcuts";
import { StartDialog } from "./start-dialog";

/**
 * Starts the monitoring of a session, or stops it after a question. If the session was started
 * before, it starts a copy.
 */
export function MonitorButton({ session }: { session: Session }) {
  const [choosing, setChoosing] = useState(false);
  const [asking, setAsking] = useState(false);
  const [, navigate] = useLocation();
  const queries = useQueryClient();
  const notify = useNotify();
  const stop = useMutation({
    mutationFn: () => call(api.POST("/api/monitor/stop", { body: { sessionId: session.id } })),
    onSuccess: (result) => {
      if (result.warning) notify(result.warning, { bad: true });
      void queries.invalidateQueries({ queryKey: keys.session(session.id), exact: true });
    },
    onError: (error) => notify(messageOf(error), { bad: true }),
  });
  const copy = useMutation({
    mutationFn: () =>
      call(api.POST("/api/sessions/{sessionId}/copy", { params: { path: { sessionId: session.id } } })),
    onSuccess: (copied) => navigate(`/sessions/${copied.sessionId}`),
    onError: (error) => notify(messageOf(error), { bad: true }),
  });
  const canStop = session.state === "active" || session.state === "starting";
  const wasStoppable = useRef(canStop);
  const wasStarted = session.state === "ended" || session.start_error?.may_have_run === true;
  const start = () => (wasStarted ? copy.mutate() : setChoosing(true));
  useShortcut("s", "Start or stop monitoring", "Session", () => (canStop ? setAsking(true) : start()));
  useEffect(() => {
    if (choosing) return; // the dialog has the focus
    // The button that had the focus may be gone with its state.
    if (wasStoppable.current !== canStop) focusIfLost(() => byId(canStop ? focusIds.view : focusIds.title));
    wasStoppable.current = canStop;
  }, [choosing, canStop]);
  if (session.id === "unassigned") return null;
  return (
    <>
      {canStop ? (
        <Button key="stop" look="danger" onClick={() => setAsking(true)} disabled={stop.isPending}>
          <Square size={13} aria-hidden />
          {stop.isPending ? "Stopping…" : "Stop"}
        </Button>
      ) : (
        <Button
          key="start"
          id={focusIds.start}
          look="primary"
          onClick={start}
          disabled={copy.isPending}
          title={wasStarted ? "In a new session of the same file" : undefined}
        >
          <Play size={14} aria-hidden />
          {wasStarted ? "Start again" : "Start"}
        </Button>
      )}
      {choosing && <StartDialog session={session} onClose={() => setChoosing(false)} />}
      {asking && canStop && (
        <Confirm
          title="Stop monitoring?"
          action="Stop"
          onConfirm={() => {
            setAsking(false);
            stop.mutate();
          }}
          onClose={() => setAsking(false)}
        >
          The agent stops watching. A sample that it started ends. This session cannot be resumed.
        </Confirm>
      )}
    </>
  );
}
