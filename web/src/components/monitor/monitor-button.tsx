import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Play, Square } from "lucide-react";
import { useState } from "react";
import { api, call, messageOf, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { useTell } from "@/components/ui/toast";
import { useShortcut } from "@/hooks/shortcuts";
import { StartDialog } from "./start-dialog";

/** Starts the monitoring of a session, or stops it. */
export function MonitorButton({ session }: { session: Session }) {
  const [choosing, setChoosing] = useState(false);
  const queries = useQueryClient();
  const tell = useTell();
  const stop = useMutation({
    mutationFn: () => call(api.POST("/api/monitor/stop", { body: { sessionId: session.id } })),
    onSuccess: (result) => {
      if (result.warning) tell(result.warning, { bad: true });
      void queries.invalidateQueries({ queryKey: keys.session(session.id), exact: true });
    },
    onError: (error) => tell(messageOf(error), { bad: true }),
  });
  const isActive = session.state === "active";
  useShortcut("s", "Start or stop monitoring", "Session", () =>
    isActive ? stop.mutate() : setChoosing(true),
  );
  if (session.id === "unassigned") return null;
  if (isActive) {
    return (
      <Button look="danger" onClick={() => stop.mutate()} disabled={stop.isPending}>
        <Square size={13} aria-hidden />
        {stop.isPending ? "Stopping…" : "Stop"}
      </Button>
    );
  }
  return (
    <>
      <Button look="primary" onClick={() => setChoosing(true)}>
        <Play size={14} aria-hidden />
        {session.state === "ended" ? "Start again" : "Start"}
      </Button>
      {choosing && <StartDialog session={session} onClose={() => setChoosing(false)} />}
    </>
  );
}
