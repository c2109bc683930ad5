import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Actor } from "@/api/actor";
import { basePath } from "@/api/base";
import { api, call, messageOf } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Button, buttonClass } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { SignInCard } from "./card";

/** Why a sign-in at the provider failed, by the reason in the address. */
const reasons: Record<string, string> = {
  denied: "The provider refused the sign-in.",
  no_role: "Your account has no role in OS-Pulse. Ask an admin of the provider for one, then sign in again.",
  expired: "The sign-in took too long, or began in another browser. Sign in again.",
  provider: "The provider does not answer. Sign in again later, or use a key.",
  token: "The answer of the provider is not valid. The log of the backend has the reason.",
};
const unknownReason = "The sign-in failed. The log of the backend has the reason.";

/** Exchanges a key for the browser's cookie, or leads to the provider at which people sign in. */
export function SignInForm({
  onDone,
  reason,
}: {
  onDone: (actor: Actor) => void;
  /** Why the last sign-in at the provider failed. */
  reason?: string;
}) {
  const [key, setKey] = useState("");
  const signIn = useMutation({
    mutationFn: () => call(api.POST("/api/sign-in", { body: { key: key.trim() } })),
    onSuccess: onDone,
  });
  const ways = useQuery({
    queryKey: ["sign-in"],
    queryFn: ({ signal }) => call(api.GET("/api/sign-in", { signal })),
  });
  const provider = ways.data?.single_sign_on;
  const here = window.location.pathname.slice(basePath.length) + window.location.search;
  return (
    <SignInCard title="Sign in">
      {reason !== undefined && !signIn.isError && (
        <p role="alert" className="text-bad">
          {reasons[reason] ?? unknownReason}
        </p>
      )}
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
      {provider && (
        <a
          href={`${provider.url}?to=${encodeURIComponent(here)}`}
          className={`${buttonClass()} h-auto min-h-8 whitespace-normal`}
        >
          <span className="min-w-0 break-words">
            Sign in with <SafeText text={provider.name} limit={60} />
          </span>
        </a>
      )}
    </SignInCard>
  );
}
