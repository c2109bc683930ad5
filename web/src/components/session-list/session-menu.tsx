import { Download, Ellipsis, FileArchive, Pencil, Trash2 } from "lucide-react";
import { useState } from "react";
import { sessionPath } from "@/api/base";
import type { Session } from "@/api/client";
import { Button } from "@/components/ui/button";
import { Menu, MenuItem, MenuLine, MenuLink } from "@/components/ui/menu";
import { sessionTitle } from "@/lib/session";
import { plainText } from "@/lib/text";
import { DeleteDialog } from "./delete-dialog";
import { EditDialog } from "./edit-dialog";

/** The actions on a whole session. */
export function SessionMenu({ session, onDeleted }: { session: Session; onDeleted?: () => void }) {
  const [open, setOpen] = useState<"edit" | "delete">();
  const close = () => setOpen(undefined);
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
        <MenuLine />
        <MenuItem
          danger
          disabled={session.state === "active" || session.state === "starting" || session.id === "unassigned"}
          onSelect={() => setOpen("delete")}
        >
          <Trash2 size={14} aria-hidden /> Delete
        </MenuItem>
      </Menu>
      {open === "edit" && <EditDialog session={session} onClose={close} />}
      {open === "delete" && <DeleteDialog session={session} onClose={close} onDeleted={onDeleted} />}
    </>
  );
}
