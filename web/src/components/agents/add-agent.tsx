import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, messageOf } from "@/api/client";
import { keys } from "@/api/queries";
import { ShownKey } from "@/components/keys/shown-key";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { byId, focusIds } from "@/hooks/focus";

const afterwards = () => byId(focusIds.addAgent);

/** Adds an agent, and shows the command for its machine once. */
export function AddAgent({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const queries = useQueryClient();
  const add = useMutation({
    mutationFn: () => call(api.POST("/api/agents", { body: { name } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: keys.agents }),
  });
  if (add.data) {
    return (
      <Dialog
        key="command" // a new dialog, which focuses its first button
        open
        onClose={onClose}
        focusAfter={afterwards}
        title={`Enroll ${add.data.name}`}
        description="Install ospulse-agent on the machine to be monitored. Then run this command there as root, and start the agent."
        footer={
          <Button look="primary" onClick={onClose}>
            Done
          </Button>
        }
      >
        <ShownKey
          text={add.data.command}
          what="command"
          hint="It works once, within an hour, and is not shown again."
        />
        <p className="mt-3 text-xs text-muted">
          The agent then fetches its work from this backend and opens no port. The list of agents shows when
          it is there.
        </p>
      </Dialog>
    );
  }
  return (
    <Dialog
      open
      onClose={onClose}
      focusAfter={afterwards}
      title="Add an agent"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit" form="add-agent-form" disabled={add.isPending}>
            Add
          </Button>
        </>
      }
    >
      <form
        id="add-agent-form"
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Field
          label="Name"
          hint="What you call the monitored machine. An agent with this name keeps its sessions."
        >
          <Input required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        {add.isError && (
          <p role="alert" className="text-bad">
            {messageOf(add.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
