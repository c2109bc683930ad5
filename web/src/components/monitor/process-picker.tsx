import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { RefreshCw } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { api, call } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { plural } from "@/lib/number";
import { type AgentProcess, arrange, matching } from "./process-tree";

const rowHeight = 28;

interface Props {
  sessionId: string;
  agentId: string;
  chosen: ReadonlySet<number>;
  onChange: (chosen: ReadonlySet<number>) => void;
}

/** Chooses among the processes of the agent's machine, as a tree if the agent reports parents. */
export function ProcessPicker({ sessionId, agentId, chosen, onChange }: Props) {
  const [search, setSearch] = useState("");
  const processes = useQuery({
    queryKey: ["agent-processes", agentId],
    queryFn: ({ signal }) =>
      call(api.POST("/api/list-processes", { body: { sessionId, agent: agentId }, signal })),
    staleTime: 0,
  });
  const rows = useMemo(() => arrange(matching(processes.data ?? [], search)), [processes.data, search]);
  if (processes.isPending) return <LoadingState label="Loading the processes" />;
  if (!processes.data) return <ErrorState error={processes.error} retry={() => void processes.refetch()} />;
  const toggle = (pid: number) => {
    const next = new Set(chosen);
    if (!next.delete(pid)) next.add(pid);
    onChange(next);
  };
  return (
    <div className="flex flex-col gap-2">
      <div className="flex items-center gap-2">
        <Input
          type="search"
          aria-label="Search processes"
          placeholder="Name, pid or command line"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
          className="min-w-0 flex-1"
        />
        <Button
          size="icon"
          aria-label="Refresh"
          onClick={() => void processes.refetch()}
          disabled={processes.isFetching}
        >
          <RefreshCw
            size={14}
            className={processes.isFetching ? "animate-spin motion-reduce:animate-none" : ""}
          />
        </Button>
      </div>
      <Rows rows={rows} chosen={chosen} toggle={toggle} />
      <p aria-live="polite" className="flex items-center gap-2 text-xs text-muted">
        {plural(chosen.size, "process", "processes")} chosen of {processes.data.length}
        {chosen.size > 0 && (
          <Button look="ghost" size="small" onClick={() => onChange(new Set())}>
            Clear
          </Button>
        )}
      </p>
    </div>
  );
}

interface RowsProps {
  rows: { process: AgentProcess; depth: number }[];
  chosen: ReadonlySet<number>;
  toggle: (pid: number) => void;
}

function Rows({ rows, chosen, toggle }: RowsProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const visible = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 10,
    initialRect: { width: 400, height: 300 },
  });
  if (rows.length === 0) return <p className="py-6 text-center text-muted">No matching processes</p>;
  return (
    <div ref={scroller} className="h-72 overflow-y-auto rounded-md border border-line bg-page">
      <div className="relative" style={{ height: visible.getTotalSize() }}>
        {visible.getVirtualItems().map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          const { process, depth } = row;
          return (
            <label
              key={process.pid}
              className={`absolute inset-x-0 flex cursor-pointer items-center gap-2 px-2 hover:bg-hover ${chosen.has(process.pid) ? "bg-selected" : ""}`}
              style={{ height: rowHeight, top: item.start, paddingLeft: 8 + Math.min(depth, 12) * 14 }}
            >
              <input
                type="checkbox"
                checked={chosen.has(process.pid)}
                onChange={() => toggle(process.pid)}
                className="accent-(--color-accent)"
              />
              <span className="w-14 shrink-0 text-right font-mono text-xs text-muted">{process.pid}</span>
              <SafeText text={process.name || "(no name)"} limit={80} className="shrink-0 font-medium" />
              <SafeText
                text={process.command_line ?? ""}
                limit={300}
                className="min-w-0 truncate text-xs text-muted"
              />
            </label>
          );
        })}
      </div>
    </div>
  );
}
