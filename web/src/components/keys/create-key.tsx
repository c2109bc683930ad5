import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type Actor, actorQuery, type Role } from "@/api/actor";
import { api, call, messageOf } from "@/api/client";
import { keys, useAgents } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input, inputClass } from "@/components/ui/field";
import { ShownKey } from "./shown-key";

const roles: Record<Role, string> = {
  viewer: "Viewer: reads",
  analyst: "Analyst: also uploads, starts, stops and exports",
  admin: "Admin: also manages keys and rules, and reads the audit",
  agent: "Agent: sends the events of one monitored machine",
};

const lifetimes = { "": "Never", "30": "After 30 days", "90": "After 90 days", "365": "After a year" };

/** Creates a key and shows it once. The first key is an admin's, and signs the browser in. */
export function CreateKey({ actor, onClose }: { actor: Actor; onClose: () => void }) {
  const isFirst = !actor.requires_key;
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>(isFirst ? "admin" : "viewer");
  const [agent, setAgent] = useState("");
  const [days, setDays] = useState("");
  const queries = useQueryClient();
  const agents = useAgents();
  const create = useMutation({
    mutationFn: async () => {
      const expires_at = days === "" ? null : new Date(Date.now() + Number(days) * 86_400_000).toISOString();
      const body = { name, role, expires_at, ...(role === "agent" && agent !== "" && { agent }) };
      const created = await call(api.POST("/api/keys", { body }));
      if (isFirst) {
        const signedIn = await call(api.POST("/api/sign-in", { body: { key: created.key } }));
        queries.setQueryData(actorQuery.queryKey, signedIn);
      }
      return created;
    },
    onSuccess: () => void queries.invalidateQueries({ queryKey: keys.apiKeys }),
  });
  if (create.data) {
    return (
      <Dialog
        open
        onClose={onClose}
        title={`The key of ${create.data.name}`}
        footer={
          <Button look="primary" onClick={onClose}>
            Done
          </Button>
        }
      >
        <ShownKey text={create.data.key} />
      </Dialog>
    );
  }
  return (
    <Dialog
      open
      onClose={onClose}
      title={isFirst ? "Create the first key" : "Create a key"}
      description={
        isFirst &&
        "From then on, the backend requires a key of every program and browser, agents included. Keep the key: only an admin can create others."
      }
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit" form="create-key" disabled={create.isPending}>
            Create
          </Button>
        </>
      }
    >
      <form
        id="create-key"
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <Field label="Name" hint="Who or what holds the key. The audit shows it.">
          <Input required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        {!isFirst && (
          <Field label="Role">
            <select
              className={`${inputClass} h-8`}
              value={role}
              onChange={(event) => setRole(event.target.value as Role)}
            >
              {Object.entries(roles).map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </Field>
        )}
        {role === "agent" && (
          <Field
            label="Agent"
            hint="The name of the agent, also of one that has not reported yet. Empty for the agent at AGENT_SERVICE_URL."
          >
            <Input
              list="known-agents"
              maxLength={200}
              value={agent}
              onChange={(event) => setAgent(event.target.value)}
            />
            <datalist id="known-agents">
              {agents.data?.agents.map(({ id, name }) => (
                <option key={id} value={name} />
              ))}
            </datalist>
          </Field>
        )}
        <Field label="Expires">
          <select
            className={`${inputClass} h-8`}
            value={days}
            onChange={(event) => setDays(event.target.value)}
          >
            {Object.entries(lifetimes).map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
        </Field>
        {create.isError && (
          <p role="alert" className="text-bad">
            {messageOf(create.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
