import { ArrowLeftRight } from "lucide-react";
import { useCallback, useState } from "react";
import { api, call } from "@/api/client";
import { type ConversationSort, ConversationTable } from "@/components/network/conversation-table";
import { Listeners } from "@/components/network/listeners";
import { PacketList } from "@/components/network/packet-list";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useRollup } from "@/hooks/rollup";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { plural } from "@/lib/number";

export default function NetworkView() {
  const { sessionId } = useSessionStream();
  const { filter } = useView();
  const [sort, setSort] = useState<ConversationSort>("bytes");
  const [chosenID, setChosenID] = useState<string>();
  const conversations = useRollup(sessionId, "conversations", { filter, sort }, (cursor, signal) =>
    call(
      api.GET("/api/sessions/{sessionId}/conversations", {
        params: { path: { sessionId }, query: { filter: filter || undefined, sort, cursor } },
        signal,
      }),
    ),
  );
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = conversations;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  if (conversations.isPending) return <LoadingState label="Loading the conversations" />;
  if (!conversations.data)
    return <ErrorState error={conversations.error} retry={() => void conversations.refetch()} />;
  const all = conversations.data.pages.flatMap((page) => page.conversations);
  const newest = conversations.data.pages.at(-1);
  const chosen = all.find((conversation) => conversation.id === chosenID);
  const listeners = newest?.listeners ?? [];
  if (all.length === 0 && listeners.length === 0) {
    return (
      <EmptyState
        icon={<ArrowLeftRight size={28} />}
        title={filter === "" ? "No conversations" : "No matching conversations"}
      >
        {filter === ""
          ? "Nothing was sent or received so far. A sample in the sandbox has no network unless the agent's SPAWN_NETWORK allows one."
          : "Change the filter, or clear the chosen process and span."}
      </EmptyState>
    );
  }
  return (
    <>
      <p className="border-b border-line px-3 py-1.5 text-xs text-muted">
        {plural(newest?.total ?? 0, "conversation")}
        {newest &&
          newest.others > 0 &&
          `; ${plural(newest.others, "event")} in conversations beyond the limit`}
        {newest &&
          newest.without_address > 0 &&
          `; ${plural(newest.without_address, "event")} without an address`}
        {newest &&
          newest.without_remote > 0 &&
          `; ${plural(newest.without_remote, "call")} on sockets without a remote end`}
      </p>
      {listeners.length > 0 && <Listeners listeners={listeners} />}
      <ConversationTable
        conversations={all}
        sort={sort}
        chosen={chosen?.id}
        onSort={setSort}
        onChoose={setChosenID}
        onEnd={onEnd}
      />
      {chosen && (
        <PacketList
          key={chosen.id}
          sessionId={sessionId}
          conversation={chosen}
          onClose={() => setChosenID(undefined)}
        />
      )}
    </>
  );
}
