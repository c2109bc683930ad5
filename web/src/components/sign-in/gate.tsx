import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { type Actor, actorQuery, useActor } from "@/api/actor";
import { SetupForm } from "./setup-form";
import { SignInForm } from "./sign-in-form";

const setupPrefix = "#setup=";
const errorPrefix = "#sign-in-error=";

/** Shows the dashboard, or the sign-in page while the backend requires a key that the browser lacks. */
export function SignInGate({ children }: { children: ReactNode }) {
  const { mustSignIn, isPending } = useActor();
  const queries = useQueryClient();
  const { hash } = window.location;
  // Nothing of the last user stays, neither on the page nor in the cache.
  const enter = (actor: Actor) => {
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== actorQuery.queryKey[0] });
    queries.setQueryData(actorQuery.queryKey, actor);
    if (hash.startsWith(setupPrefix) || hash.startsWith(errorPrefix))
      window.history.replaceState(null, "", window.location.pathname + window.location.search);
  };
  if (isPending) return null;
  if (!mustSignIn) return children;
  return (
    <main className="flex h-full flex-col items-center justify-center overflow-y-auto p-4">
      {hash.startsWith(setupPrefix) ? (
        <SetupForm token={decodeURIComponent(hash.slice(setupPrefix.length))} onDone={enter} />
      ) : (
        <SignInForm
          onDone={enter}
          reason={hash.startsWith(errorPrefix) ? hash.slice(errorPrefix.length) : undefined}
        />
      )}
    </main>
  );
}
