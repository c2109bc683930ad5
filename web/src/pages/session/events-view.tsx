import { ListX, Radio } from "lucide-react";
import { useState } from "react";
import { messageOf, type Session } from "@/api/client";
import type { FeedStart } from "@/api/event-feed";
import { isLive } from "@/api/queries";
import { useColumns } from "@/components/event-table/columns-provider";
import { EventTable } from "@/components/event-table/event-table";
import { TableBar } from "@/components/event-table/table-bar";
import { Button } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useEventFeed } from "@/hooks/event-feed";
import { useLive } from "@/hooks/live";
import { useIsNarrow } from "@/hooks/media";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";

/** The selected events of the session, newest last. */
export default function EventsView() {
  const { sessionId, session } = useSessionStream();
  const { view, filter, change } = useView();
  const { selected } = useLive();
  const canFollow = isLive(session);
  const [wantsFollow, setWantsFollow] = useState(view.seq === undefined);
  // The last events arrive after the end of the session: who follows sees them too.
  const [wasLive, setWasLive] = useState(canFollow);
  if (canFollow && !wasLive) setWasLive(true);
  const isFollowing = wasLive && wantsFollow;
  const isNarrow = useIsNarrow();
  const columnState = useColumns();
  const start: FeedStart = view.seq ?? (isFollowing ? "last" : "first");
  const current = useEventFeed(sessionId, filter, start);
  const { feed, state, isStale } = useLastLoaded(current);

  if (current.state.error !== undefined && current.state.isPending)
    return <ErrorState error={current.state.error} retry={() => current.feed.retry()} />;
  const isEmpty = state.total === 0 && !state.isPending;
  return (
    <>
      {state.error !== undefined && (
        <p role="alert" className="bg-bad-soft px-3 py-1 text-xs text-bad">
          {messageOf(state.error)}
        </p>
      )}
      {isEmpty && <NoEvents isFiltered={filter !== ""} state={session?.state} isLive={canFollow} />}
      {state.isPending && <LoadingState label="Loading events" />}
      <div
        className={
          isEmpty || state.isPending
            ? "hidden"
            : `flex min-h-0 flex-1 flex-col ${isStale ? "opacity-60" : ""}`
        }
        aria-busy={isStale}
      >
        <EventTable
          feed={feed}
          state={state}
          columns={columnState.shown}
          columnState={columnState}
          isNarrow={isNarrow}
          isFollowing={isFollowing}
          canFollow={canFollow}
          follow={setWantsFollow}
          openSeq={view.seq}
          open={(seq) => change({ seq })}
        />
      </div>
      <TableBar
        count={selected ?? state.count}
        isFiltered={filter !== ""}
        isStale={isStale}
        isFollowing={canFollow ? isFollowing : undefined}
        onFollow={() => setWantsFollow(!isFollowing)}
        columns={isNarrow ? undefined : columnState}
      />
    </>
  );
}

/** The current feed, or the last loaded one until the current one has rows. */
function useLastLoaded(current: ReturnType<typeof useEventFeed>) {
  const [last, setLast] = useState(current);
  const isReady = !current.state.isPending;
  if (isReady && last.state !== current.state) setLast(current);
  return isReady ? { ...current, isStale: false } : { ...last, isStale: last.feed !== current.feed };
}

interface NoEventsProps {
  isFiltered: boolean;
  state: Session["state"] | undefined;
  isLive: boolean;
}

function NoEvents({ isFiltered, state, isLive }: NoEventsProps) {
  const { change } = useView();
  if (isFiltered) {
    return (
      <EmptyState icon={<ListX size={28} />} title="No matching events">
        <p className="mb-3">
          The filter, the time span or the process excludes all events, or they are routine and hidden.
        </p>
        <Button
          onClick={() => change({ filter: "", span: undefined, process: undefined, hidesRoutine: undefined })}
        >
          Show all events
        </Button>
      </EmptyState>
    );
  }
  if (state === "ended") {
    return (
      <EmptyState icon={<Radio size={28} />} title="No events">
        The session ended without any. “Start again” runs the file in a new session.
      </EmptyState>
    );
  }
  return (
    <EmptyState icon={<Radio size={28} />} title="No events yet">
      {isLive ? "They appear here as the agent reports them." : "Press Start, and they appear here."}
    </EmptyState>
  );
}
