import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { type Actor, actorQuery } from "@/api/actor";
import { api, call, messageOf } from "@/api/client";
import { ShownKey } from "@/components/keys/shown-key";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { SignInCard } from "./card";

/** Creates the first key with the link that the backend printed, and shows it once. */
export function SetupForm({ token, onDone }: { token: string; onDone: (actor: Actor) => void }) {
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => call(api.POST("/api/setup", { body: { token, name } })),
  });
  const proceed = useMutation({
    mutationFn: () => call(api.GET("/api/me")),
    onSuccess: onDone,
    mutationKey: actorQuery.queryKey,
  });
  if (create.data) {
    return (
      <SignInCard title="Your key">
        <ShownKey text={create.data.key} />
        <Button look="primary" disabled={proceed.isPending} onClick={() => proceed.mutate()}>
          Continue to the dashboard
        </Button>
        {proceed.isError && (
          <p role="alert" className="text-bad">
            {messageOf(proceed.error)}
          </p>
        )}
      </SignInCard>
    );
  }
  return (
    <SignInCard title="Create the first key">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <p className="text-muted">
          This backend has no key yet. The first one belongs to an admin, who can create keys for others.
        </p>
        <Field label="Your name" hint="The audit shows it beside what you do.">
          <Input
            autoFocus
            required
            maxLength={200}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        {create.isError && (
          <p role="alert" className="text-bad">
            {messageOf(create.error)}
          </p>
        )}
        <Button look="primary" type="submit" disabled={create.isPending}>
          Create the key
        </Button>
      </form>
    </SignInCard>
  );
}
