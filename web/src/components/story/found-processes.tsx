import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { fetchTree, wholeTree } from "@/api/process-tree";
import { keys } from "@/api/queries";
import { FindingSign } from "@/components/findings/mark";
import { markOf, selectionOf } from "@/components/process-tree/rows";
import { SafeText } from "@/components/safe-text";
import { usePlacedMarks } from "@/hooks/findings";
import { viewPath, writeView } from "@/lib/view";
import { SectionBox, SectionRow } from "./sections";

const search = { ...wholeTree, filter: "finding.level >= low" };

/** The processes with findings and those that started them, as a tree. Each leads to the full view. */
export function FoundProcesses({ sessionId }: { sessionId: string }) {
  const tree = useQuery({
    queryKey: keys.of(sessionId, "findings", "tree"), // so that it is fetched again when findings change
    queryFn: ({ signal }) => fetchTree(sessionId, search, { limit: 100 }, signal),
  }).data;
  const marks = usePlacedMarks(sessionId);
  if (!tree || tree.matching === 0) return null;
  const top = Math.min(...tree.rows.map(({ depth }) => depth));
  return (
    <SectionBox
      name="Processes with findings"
      total={tree.matching}
      shown={tree.rows.filter(({ matches }) => matches).length}
      link={
        <Link href={viewPath(sessionId, "processes")} className="text-accent hover:underline">
          All processes
        </Link>
      }
    >
      {tree.rows.map((row) => {
        const mark = row.matches ? markOf(marks, row) : undefined;
        const chosen = writeView(new URLSearchParams(), { filter: "", process: selectionOf(row) });
        return (
          <SectionRow key={row.id}>
            <Link
              href={viewPath(sessionId, "processes", chosen.toString())}
              title={row.matches ? undefined : "Started a process with findings"}
              className="flex min-w-0 flex-1 items-baseline gap-1.5 hover:underline"
              style={{ paddingLeft: Math.min(row.depth - top, 10) * 12 }}
            >
              {mark && <FindingSign mark={mark} />}
              <SafeText
                text={row.name || row.image || "(no name)"}
                limit={120}
                className={`max-w-[60%] shrink-0 truncate ${row.matches ? "font-medium" : "text-muted italic"}`}
              />
              <span className="shrink-0 font-mono text-muted">{row.pid}</span>
              <SafeText
                text={row.command_line}
                limit={200}
                className="min-w-0 truncate font-mono text-muted"
              />
            </Link>
          </SectionRow>
        );
      })}
    </SectionBox>
  );
}
