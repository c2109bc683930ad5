import { useQuery } from "@tanstack/react-query";
import { fetchTree, wholeTree } from "@/api/process-tree";
import { keys } from "@/api/queries";
import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { useView } from "@/hooks/view";
import { formatCount, plural } from "@/lib/number";
import type { View } from "@/lib/view";

type FileSummary = components["schemas"]["FileSummary"];

/** As many processes as the summary of a file has. */
const most = 10;

interface Entry {
  name: string;
  count: number;
  process: View["process"];
}

/** The processes that used a file, those with the most events first. filter selects the file's events. */
export function FileProcesses({
  sessionId,
  file,
  filter,
}: {
  sessionId: string;
  file: FileSummary;
  filter: string;
}) {
  const { change } = useView();
  // The summary knows pids, which are used again; the tree knows which process of a pid it was.
  const tree = useQuery({
    queryKey: keys.of(sessionId, "file-processes", filter, file.last_seq),
    queryFn: ({ signal }) => fetchTree(sessionId, { ...wholeTree, filter }, { limit: 1000 }, signal),
    placeholderData: (old, query) => (query?.queryKey.includes(filter) ? old : undefined),
  });
  const { entries, total } = entriesOf(file, tree.data);
  return (
    <section>
      <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">
        {entries.length < total && `${formatCount(entries.length)} of `}
        {plural(total, "process", "processes")}
      </h3>
      <ul className="flex flex-wrap gap-1">
        {entries.map(({ name, count, process }, index) => (
          <li key={process?.id ?? `${index} ${name}`}>
            <Button
              size="small"
              disabled={!process || tree.isPending}
              title="Show only what this process did"
              onClick={() => change({ process })}
            >
              <SafeText text={name || "(no name)"} limit={60} />
              <span className="font-mono text-2xs text-muted">{process?.pid}</span>
              <span className="text-muted tabular-nums">{formatCount(count)}</span>
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The processes of the tree, and those of the summary whose events have another target, such as copies. */
function entriesOf(
  file: FileSummary,
  tree: components["schemas"]["ProcessTreePage"] | undefined,
): { entries: Entry[]; total: number } {
  const rows = tree?.rows.filter((row) => row.matches) ?? [];
  const pids = new Set<number | null>(rows.map((row) => row.pid));
  const others = file.processes.filter(({ pid }) => !pids.has(pid));
  const entries: Entry[] = rows.map(({ id, pid, name, selected_counts = {} }) => ({
    name,
    count: Object.values(selected_counts).reduce((sum, count) => sum + count, 0),
    process: { pid, name, id, alone: true },
  }));
  for (const { pid, name, count } of others)
    entries.push({ name, count, process: pid === null ? undefined : { pid, name } });
  entries.sort((a, b) => b.count - a.count);
  const total = tree ? tree.matching + others.length : 0;
  return {
    entries: entries.slice(0, most),
    total: others.length > 0 ? Math.max(file.process_count, total) : total,
  };
}
