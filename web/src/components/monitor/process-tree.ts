import { groupBy } from "@/lib/group";

/** A process on the agent's machine; older agents report only the first two fields. */
export interface AgentProcess {
  pid: number;
  name: string;
  parent_pid?: number;
  command_line?: string;
}

/** The processes that match a text, and their ancestors, which show where they belong. */
export function matching(processes: readonly AgentProcess[], search: string): AgentProcess[] {
  const wanted = search.trim().toLowerCase();
  if (wanted === "") return [...processes];
  const byPID = new Map(processes.map((process) => [process.pid, process]));
  const kept = new Set<AgentProcess>();
  for (const process of processes) {
    const text = `${process.pid} ${process.name} ${process.command_line ?? ""}`.toLowerCase();
    if (!text.includes(wanted)) continue;
    let next: AgentProcess | undefined = process;
    while (next && !kept.has(next)) {
      kept.add(next);
      next = next.parent_pid === undefined ? undefined : byPID.get(next.parent_pid);
    }
  }
  return processes.filter((process) => kept.has(process));
}

/** The processes as rows of a tree, each below its parent if the agent reported it. */
export function arrange(processes: readonly AgentProcess[]): { process: AgentProcess; depth: number }[] {
  const byPID = new Map(processes.map((process) => [process.pid, process]));
  const children = groupBy(processes, (process) => {
    const parent = process.parent_pid;
    return parent !== undefined && parent !== process.pid && byPID.has(parent) ? parent : undefined;
  });
  const rows: { process: AgentProcess; depth: number }[] = [];
  const placed = new Set<AgentProcess>();
  const place = (process: AgentProcess) => {
    const waiting = [{ process, depth: 0 }];
    for (let row = waiting.pop(); row; row = waiting.pop()) {
      if (placed.has(row.process)) continue;
      placed.add(row.process);
      rows.push(row);
      const depth = row.depth + 1;
      for (const child of (children.get(row.process.pid) ?? []).toReversed())
        waiting.push({ process: child, depth });
    }
  };
  for (const process of children.get(undefined) ?? []) place(process);
  // Processes in a cycle of parents, as after a reused pid, are below no root.
  for (const process of processes) place(process);
  return rows;
}
