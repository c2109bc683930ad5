import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import type { Key } from "./key-table";

/** Asks for confirmation before it revokes a key, because that cannot be undone. */
export function RevokeKey({ of, isOwn, onClose }: { of: Key; isOwn: boolean; onClose: () => void }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const revoke = useMutation({
    mutationFn: () => call(api.DELETE("/api/keys/{keyId}", { params: { path: { keyId: of.id } } })),
    onSuccess: () => {
      notify("The key is revoked.");
      onClose();
      void queries.invalidateQueries({ queryKey: keys.apiKeys });
    },
  });
  return (
    <Confirm
      title="Revoke this key?"
      action="Revoke"
      onConfirm={() => revoke.mutate()}
      onClose={onClose}
      isPending={revoke.isPending}
      error={revoke.error}
    >
      The requests and streams of <SafeText text={of.name} limit={200} className="font-medium break-words" />{" "}
      end within seconds, and the key never works again.
      {isOwn && " It is your own key, so you will be signed out."}
      {of.role === "agent" && " The agent keeps its events until it has another key."}
    </Confirm>
  );
}
