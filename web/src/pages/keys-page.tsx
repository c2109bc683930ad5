import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";
import { useActor } from "@/api/actor";
import { useKeys } from "@/api/queries";
import { CreateKey } from "@/components/keys/create-key";
import { type Key, KeyTable } from "@/components/keys/key-table";
import { RevokeKey } from "@/components/keys/revoke-key";
import { SignedInPeople } from "@/components/keys/signed-in-people";
import { Button } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { byId, useArrival } from "@/hooks/focus";

const createId = "create-key-button";

/** The keys of the API, for admins. */
export default function KeysPage() {
  const { actor } = useActor();
  const { data, error, isPending, refetch } = useKeys();
  const [isCreating, setIsCreating] = useState(false);
  const [revoking, setRevoking] = useState<Key>();
  useArrival(data !== undefined, () => byId(createId));
  return (
    <>
      <div className="flex items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h1 className="flex-1 text-base font-semibold">Keys</h1>
        <Button id={createId} look="primary" disabled={!actor} onClick={() => setIsCreating(true)}>
          <Plus size={15} aria-hidden /> New key
        </Button>
      </div>
      {isPending && <LoadingState label="Loading the keys" />}
      {!isPending && !data && <ErrorState error={error} retry={() => void refetch()} />}
      {data?.length === 0 && (
        <EmptyState icon={<KeyRound size={28} />} title="No keys">
          {actor?.requires_key
            ? "Programs and agents need keys. Create the key of an admin as well, for times when the provider does not answer."
            : "Everyone on this machine can use the backend without a key. Once a key exists, every program and browser needs one, agents included."}
        </EmptyState>
      )}
      {data && data.length > 0 && <KeyTable keys={data} own={actor?.key_id ?? ""} onRevoke={setRevoking} />}
      <SignedInPeople own={actor?.key_id ?? ""} />
      {isCreating && actor && <CreateKey actor={actor} onClose={() => setIsCreating(false)} />}
      {revoking && (
        <RevokeKey
          of={revoking}
          isOwn={revoking.id === actor?.key_id}
          onClose={() => setRevoking(undefined)}
        />
      )}
    </>
  );
}
