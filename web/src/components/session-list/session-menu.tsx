import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Download, Ellipsis, FileArchive, Pencil, Pin, PinOff, Trash2 } from "lucide-react";
import { useState } from "react";
import { sessionPath } from "@/api/base";
import { api, call, messageOf, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { Menu, MenuItem, MenuLine, MenuLink } from "@/components/ui/menu";
import { useNotify } from "@/components/ui/toast";
import { sessionTitle } from "@/lib/session";
import { plainText } from "@/lib/text";
import { DeleteDialog } from "./delete-dialog";
import { EditDialog } from "./edit-dialog";

/** The actions on a whole session. */
export function SessionMenu({ session, onDeleted }: { session: Session; onDeleted?: () => void }) {
  const [open, setOpen] = useState<"edit" | "delete">();
  const close = () => setOpen(undefined);
  const keep = useKeep(session);
  return (
    <>
      <Menu
        trigger={
          <Button
            look="ghost"
            size="smallIcon"
            aria-label={`More of ${plainText(sessionTitle(session), 80)}`}
          >
            <Ellipsis size={16} />
          </Button>
        }
      >
        <MenuItem onSelect={() => setOpen("edit")}>
          <Pencil size={14} aria-hidden /> Name, tags and notes
        </MenuItem>
        <MenuLink href={sessionPath(session.id, "/export?format=bundle&file=true")} download>
          <FileArchive size={14} aria-hidden /> Export as a bundle
        </MenuLink>
        {session.file_sha256 && (
          <MenuLink href={sessionPath(session.id, "/file")} download>
            <Download size={14} aria-hidden /> File, in a zip (password: infected)
          </MenuLink>
        )}
        <MenuItem onSelect={() => keep.mutate()}>
          {session.keep ? <PinOff size={14} aria-hidden /> : <Pin size={14} aria-hidden />}
          {session.keep ? "Let it expire" : "Keep: it never expires"}
        </MenuItem>
        <MenuLine />
        <MenuItem
          danger
          disabled={session.state === "active" || session.state === "starting"}
          onSelect={() => setOpen("delete")}
        >
          <Trash2 size={14} aria-hidden /> {session.id === "unassigned" ? "Remove its events" : "Delete"}
        </MenuItem>
      </Menu>
      {open === "edit" && <EditDialog session={session} onClose={close} />}
      {open === "delete" && <DeleteDialog session={session} onClose={close} onDeleted={onDeleted} />}
    </>
  );
}

/** Changes whether retention may remove the session. */
function useKeep(session: Session) {
  const queries = useQueryClient();
  const notify = useNotify();
  return useMutation({
    mutationFn: () =>
      call(
        api.PATCH("/api/sessions/{sessionId}", {
          params: { path: { sessionId: session.id } },
          body: { keep: !session.keep },
        }),
      ),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      void queries.invalidateQueries({ queryKey: keys.session(session.id), exact: true });
    },
    onError: (error) => notify(messageOf(error)),
  });
}
