import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Actor } from "@/api/actor";
import { api, call, messageOf } from "@/api/client";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { SignInCard } from "./card";

/** Exchanges a key for the browser's cookie. */
export function SignInForm({ onDone }: { onDone: (actor: Actor) => void }) {
  const [key, setKey] = useState("");
  const signIn = useMutation({
    mutationFn: () => call(api.POST("/api/sign-in", { body: { key: key.trim() } })),
    onSuccess: onDone,
  });
  return (
    <SignInCard title="Sign in">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate();
        }}
      >
        <Field
          label="Key"
          hint="An admin creates keys on the page Keys, or with ospulse-backend keys create."
        >
          <Input
            type="password"
            autoComplete="current-password"
            autoFocus
            required
            placeholder="osp_…"
            className="font-mono"
            value={key}
            aria-invalid={signIn.isError}
            aria-describedby={signIn.isError ? "sign-in-error" : undefined}
            onChange={(event) => setKey(event.target.value)}
          />
        </Field>
        {signIn.isError && (
          <p id="sign-in-error" role="alert" className="text-bad">
            {messageOf(signIn.error)}
          </p>
        )}
        <Button look="primary" type="submit" disabled={signIn.isPending}>
          Sign in
        </Button>
      </form>
    </SignInCard>
  );
}
