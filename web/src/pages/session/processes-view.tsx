import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { GitBranch, SearchX } from "lucide-react";
import { useMemo, useState } from "react";
import { api, call } from "@/api/client";
import { isLive, keys, useSession } from "@/api/queries";
import { ProcessDetail } from "@/components/process-tree/process-detail";
import { ProcessTree } from "@/components/process-tree/process-tree";
import { everyNode, isSelected, rowsOf } from "@/components/process-tree/rows";
import { Input } from "@/components/ui/field";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { refetchBehind, useLive } from "@/hooks/live";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { plural } from "@/lib/number";

const nothing = new Set<string>();

export default function ProcessesView() {
  const { sessionId } = useSessionStream();
  const { data: session } = useSession(sessionId);
  const { view } = useView();
  const [search, setSearch] = useState("");
  const live = isLive(session);
  const counts = useLive();
  const tree = useQuery({
    queryKey: keys.of(sessionId, "processes"),
    queryFn: async ({ signal }) => {
      const { upTo } = counts;
      const tree = await call(
        api.GET("/api/sessions/{sessionId}/processes", { params: { path: { sessionId } }, signal }),
      );
      return { ...tree, upTo };
    },
    refetchInterval: ({ state: { data } }) => refetchBehind(data?.upTo, counts, 3000),
    placeholderData: keepPreviousData,
  });
  const roots = tree.data?.processes;
  const chosen = useMemo(() => {
    if (!roots || !view.process) return undefined;
    for (const node of everyNode(roots)) if (isSelected(node, view.process)) return node;
  }, [roots, view.process]);
  if (tree.isPending) return <LoadingState label="Loading the processes" />;
  if (!tree.data || !roots) return <ErrorState error={tree.error} retry={() => void tree.refetch()} />;
  if (roots.length === 0) {
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
      <div className="flex items-center gap-3 border-b border-line px-3 py-1.5">
        <Input
          type="search"
          aria-label="Search processes"
          placeholder="Name, pid, image or command line"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
          className="w-72 max-w-full"
        />
        <span className="text-xs text-muted">
          {plural(tree.data.total, "process", "processes")}
          {tree.data.truncated && ", of which the first 10,000 are shown"}
        </span>
      </div>
      {search !== "" && rowsOf(roots, nothing, search).length === 0 ? (
        <EmptyState icon={<SearchX size={28} />} title="No matching processes" />
      ) : (
        <ProcessTree
          sessionId={sessionId}
          roots={roots}
          search={search}
          live={live}
          from={session?.first_event_at ?? roots[0]?.first_seen ?? ""}
          to={session?.last_event_at ?? roots[0]?.last_seen ?? ""}
        />
      )}
      {chosen && <ProcessDetail sessionId={sessionId} node={chosen} />}
    </>
  );
}
