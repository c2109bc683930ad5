import { GitBranch, SearchX } from "lucide-react";
import { useDeferredValue, useMemo, useState } from "react";
import { wholeTree } from "@/api/process-tree";
import { isLive, useSession } from "@/api/queries";
import { ProcessDetail } from "@/components/process-tree/process-detail";
import { ProcessTree } from "@/components/process-tree/process-tree";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useChosenId, useTreePage, useTreeRow } from "@/hooks/process-tree";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { formatCount, plural } from "@/lib/number";
import { viewFilter } from "@/lib/view";

/** More closed processes would make the address of the request too long. */
const maxClosed = 300;

export default function ProcessesView() {
  const { sessionId } = useSessionStream();
  const { data: session } = useSession(sessionId);
  const { view, change } = useView();
  const [text, setText] = useState("");
  const q = useDeferredValue(text).trim();
  // Each search has closed processes of its own, so that it shows what it finds.
  const [closedIn, setClosed] = useState<Readonly<Record<string, readonly string[]>>>({});
  // The tree is where a reader chooses a process, so it keeps the others.
  const filter = viewFilter({ ...view, process: undefined });
  const search = useMemo(() => ({ q, filter, closed: closedIn[q] ?? [] }), [q, filter, closedIn]);
  const setOpen = (id: string, isOpen: boolean) => {
    const others = search.closed.filter((other) => other !== id);
    setClosed({ ...closedIn, [q]: isOpen ? others : [...others, id].slice(-maxClosed) });
  };
  const live = isLive(session);
  const tree = useTreePage(sessionId, search, 0);
  const chosenId = useChosenId(sessionId, view.process);
  const chosen = useTreeRow(sessionId, wholeTree, chosenId).data?.row;
  if (tree.data?.total === 0) {
    return (
      <EmptyState icon={<GitBranch size={28} />} title={live ? "No processes yet" : "No processes"}>
        {session?.state === "created"
          ? "Press Start, and they appear here."
          : live
            ? "They appear here as the agent reports them."
            : "No event of this session names a process."}
      </EmptyState>
    );
  }
  return (
    <>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-3 py-1.5">
        <Input
          type="search"
          aria-label="Search processes"
          placeholder="Name, pid, image or command line"
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="max-w-72 min-w-0 flex-[1_1_10rem]"
        />
        {tree.data && (
          <span role="status" className="text-xs text-muted">
            <span className="whitespace-nowrap">
              {(q !== "" || filter !== "") && `${formatCount(tree.data.matching)} of `}
              {plural(tree.data.total, "process", "processes")}
            </span>
            {tree.data.truncated && "; the session has more, which started later"}
          </span>
        )}
      </div>
      {tree.data === undefined ? (
        tree.isPending ? (
          <LoadingState label="Loading the processes" />
        ) : (
          <ErrorState error={tree.error} retry={() => void tree.refetch()} />
        )
      ) : tree.data.row_count === 0 ? (
        <EmptyState icon={<SearchX size={28} />} title="No matching processes">
          {filter !== "" && (
            <>
              <p className="mb-3">The filter or the time span excludes all events of a process.</p>
              <Button onClick={() => change({ filter: "", span: undefined })}>Show all processes</Button>
            </>
          )}
        </EmptyState>
      ) : (
        <ProcessTree
          sessionId={sessionId}
          search={search}
          count={tree.data.row_count}
          isStale={tree.isPlaceholderData}
          setOpen={setOpen}
          chosen={chosenId}
          live={live}
          from={session?.first_event_at ?? tree.data.rows[0]?.first_seen ?? ""}
          to={session?.last_event_at ?? tree.data.rows[0]?.last_seen ?? ""}
        />
      )}
      {chosen && <ProcessDetail sessionId={sessionId} node={chosen} />}
    </>
  );
}
