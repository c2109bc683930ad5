import { Link } from "wouter";
import type { ListedFinding } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import type { TableColumn } from "@/components/table/table";
import { quote } from "@/lib/filter";
import { plural } from "@/lib/number";
import { viewPath } from "@/lib/view";
import { LevelBadge } from "./level-badge";
import { RootNote } from "./root-note";

/** What the lists of a session's and of all findings show alike. */
type Shown = Pick<
  ListedFinding,
  "level" | "process_name" | "pid" | "target" | "root_path" | "techniques" | "rule_id" | "events"
>;

export const levelColumn: TableColumn<Shown> = {
  id: "level",
  label: "Level",
  width: 104,
  phone: 106,
  cell: ({ level }) => <LevelBadge level={level} />,
};

/** The process, the target and the techniques. */
export const factColumns: readonly TableColumn<Shown>[] = [
  {
    id: "process",
    label: "Process",
    width: 140,
    cell: ({ process_name, pid }) => (
      <>
        <SafeText text={process_name ?? ""} limit={60} /> <span className="font-mono text-muted">{pid}</span>
      </>
    ),
  },
  {
    id: "target",
    label: "Target",
    width: 160,
    grow: "1fr",
    look: "font-mono",
    cell: ({ target, root_path }) => (
      <>
        <SafeText text={target ?? "–"} limit={200} />
        <RootNote rootPath={root_path} />
      </>
    ),
  },
  {
    id: "techniques",
    label: "ATT&CK",
    width: 120,
    look: "font-mono text-muted",
    cell: ({ techniques }) => <SafeText text={techniques.map(({ id }) => id).join(" ")} limit={200} />,
  },
];

/** The number of a finding's events. It leads to them, or to the first 1,000. */
export function EventsLink({ sessionId, finding }: { sessionId: string; finding: Shown }) {
  const filter = `finding = ${quote(finding.rule_id)}`;
  return (
    <Link
      href={viewPath(sessionId, "events", new URLSearchParams({ filter }).toString())}
      className="text-accent underline"
      onClick={(event) => event.stopPropagation()}
    >
      {plural(finding.events, "event")}
    </Link>
  );
}
