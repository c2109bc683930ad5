import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, messageOf, type Session } from "@/api/client";
import { keys } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input, inputClass } from "@/components/ui/field";

/** Changes the name, the notes and the tags of a session. */
export function EditDialog({ session, onClose }: { session: Session; onClose: () => void }) {
  const [name, setName] = useState(session.name);
  const [tags, setTags] = useState(session.tags.join(", "));
  const [notes, setNotes] = useState(session.notes);
  const queries = useQueryClient();
  const save = useMutation({
    mutationFn: () =>
      call(
        api.PATCH("/api/sessions/{sessionId}", {
          params: { path: { sessionId: session.id } },
          body: { name, notes, tags: tagsOf(tags) },
        }),
      ),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      void queries.invalidateQueries({ queryKey: keys.session(session.id), exact: true });
      onClose();
    },
  });
  return (
    <Dialog
      open
      onClose={onClose}
      title="Name, tags and notes"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit" form="edit-session" disabled={save.isPending}>
            Save
          </Button>
        </>
      }
    >
      <form
        id="edit-session"
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Field label="Name">
          <Input
            value={name}
            maxLength={200}
            placeholder={session.file_name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field label="Tags" hint="Separated by commas">
          <Input value={tags} onChange={(event) => setTags(event.target.value)} />
        </Field>
        <Field label="Notes">
          <textarea
            rows={6}
            maxLength={65_536}
            value={notes}
            onChange={(event) => setNotes(event.target.value)}
            className={inputClass}
          />
        </Field>
        {save.isError && (
          <p role="alert" className="text-bad">
            {messageOf(save.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}

function tagsOf(text: string): string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "");
}
