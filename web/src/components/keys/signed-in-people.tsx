import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "@/api/client";
import { keys, useSignIns } from "@/api/queries";
import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import { useSettings } from "@/hooks/settings";
import { formatDateTime } from "@/lib/time";

type SignIn = components["schemas"]["PersonSignIn"];

const cell = "px-3 py-2 align-top";

/** The people who signed in at the provider, each with the newest sign-in; nothing without any. */
export function SignedInPeople({ own }: { own: string }) {
  const { data } = useSignIns();
  const { zone } = useSettings();
  const [ending, setEnding] = useState<SignIn>();
  if (!data?.length) return null;
  const people = data.filter(({ id }, index) => data.findIndex((other) => other.id === id) === index);
  return (
    <section
      aria-labelledby="signed-in-people"
      className="max-h-1/2 shrink-0 overflow-auto border-t border-line"
    >
      <h2 id="signed-in-people" className="px-3 pt-3 font-semibold">
        Signed in at the provider
      </h2>
      <table className="w-full border-collapse text-sm" aria-labelledby="signed-in-people">
        <thead>
          <tr className="border-b border-line">
            {["Name", "Role", "Since"].map((name) => (
              <th
                key={name}
                scope="col"
                className="px-3 py-2 text-left text-2xs font-semibold tracking-wide text-muted uppercase"
              >
                {name}
              </th>
            ))}
            <th scope="col">
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {people.map((person) => (
            <tr key={person.id} className="border-b border-line">
              <td className={cell}>
                <SafeText text={person.name} limit={200} className="font-medium break-words" />
                {person.id === own && <span className="ml-2 text-muted">you</span>}
              </td>
              <td className={cell}>{person.role}</td>
              <td className={cell}>{formatDateTime(person.created_at, zone).slice(0, 16)}</td>
              <td className={`${cell} text-right`}>
                <Button
                  size="small"
                  onClick={() => setEnding(person)}
                  aria-label={`End the sign-ins of ${person.name}`}
                >
                  End
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {ending && <EndSignIns of={ending} isOwn={ending.id === own} onClose={() => setEnding(undefined)} />}
    </section>
  );
}

/** Asks for confirmation before it ends all sign-ins of a person. */
function EndSignIns({ of, isOwn, onClose }: { of: SignIn; isOwn: boolean; onClose: () => void }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const end = useMutation({
    mutationFn: () => call(api.DELETE("/api/sign-ins/{keyId}", { params: { path: { keyId: of.id } } })),
    onSuccess: () => {
      notify("The sign-ins have ended.");
      onClose();
      void queries.invalidateQueries({ queryKey: keys.signIns });
    },
  });
  return (
    <Confirm
      title="End all sign-ins of this person?"
      action="End sign-ins"
      onConfirm={() => end.mutate()}
      onClose={onClose}
      isPending={end.isPending}
      error={end.error}
    >
      The requests and streams of <SafeText text={of.name} limit={200} className="font-medium break-words" />{" "}
      end within seconds. The provider decides whether this person can sign in again: remove the role there
      first.
      {isOwn && " They are your own, so you will be signed out."}
    </Confirm>
  );
}
