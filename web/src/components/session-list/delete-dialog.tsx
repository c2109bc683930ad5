import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call, type Session } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import { plural } from "@/lib/number";
import { sessionTitle } from "@/lib/session";

interface Props {
  session: Session;
  onClose: () => void;
  onDeleted?: () => void;
}

/**
 * Asks for confirmation before it deletes a session, because that cannot be undone. The
 * session unassigned stays, and only its events are removed.
 */
export function DeleteDialog({ session, onClose, onDeleted }: Props) {
  const isUnassigned = session.id === "unassigned";
  const params = { path: { sessionId: session.id } };
  const queries = useQueryClient();
  const notify = useNotify();
  const remove = useMutation({
    mutationFn: () =>
      isUnassigned
        ? call(api.DELETE("/api/sessions/{sessionId}/events", { params }))
        : call(api.DELETE("/api/sessions/{sessionId}", { params })),
    onSuccess: () => {
      notify(isUnassigned ? "The events are being removed." : "The session is deleted.");
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      onClose();
      onDeleted?.();
    },
  });
  return (
    <Confirm
      title={isUnassigned ? "Remove these events?" : "Delete this session?"}
      action={isUnassigned ? "Remove" : "Delete"}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
      isPending={remove.isPending}
      error={remove.error}
    >
      {isUnassigned ? (
        <>
          The {plural(session.event_count - session.expired_seq, "event")} that belong to no session will be
          permanently removed. Later ones stay. To keep a copy, export them first.
        </>
      ) : (
        <>
          <SafeText text={sessionTitle(session)} limit={200} className="font-medium break-all" /> with its{" "}
          {plural(session.event_count - session.expired_seq, "event")}
          {session.file_sha256 ? ", and its file if no other session has it," : ""} will be permanently
          deleted. To keep a copy, export it as a bundle first.
        </>
      )}
    </Confirm>
  );
}
