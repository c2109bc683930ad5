import { Link } from "wouter";
import type { components } from "@/api/schema";
import { Clock } from "@/components/clock";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { quote } from "@/lib/filter";
import { plural } from "@/lib/number";
import { viewPath } from "@/lib/view";
import { FailedSign } from "./failed-sign";
import { LevelBadge } from "./level-badge";
import { RootNote } from "./root-note";

export type Finding = components["schemas"]["Finding"];

/** The filter that selects the events of a finding, or the first 1,000 of them. */
function eventsFilter({ rule_id }: Finding): string {
  return `finding = ${quote(rule_id)}`;
}

function columnsOf(sessionId: string): readonly TableColumn<Finding>[] {
  return [
    {
      id: "level",
      label: "Level",
      width: 104,
      phone: 84,
      cell: ({ level }) => <LevelBadge level={level} />,
    },
    {
      id: "title",
      label: "Finding",
      width: 260,
      grow: "1.5fr",
      phone: 0,
      look: "font-medium",
      cell: (finding) => (
        <>
          <FailedSign finding={finding} />
          <SafeText text={finding.title} limit={200} />
          {finding.imported && (
            <span
              className="ml-1.5 rounded bg-sunken px-1 text-2xs text-muted"
              title="A rule of the backend that exported this session found it"
            >
              imported
            </span>
          )}
        </>
      ),
    },
    {
      id: "events",
      label: "Events",
      width: 96,
      cell: (finding) => (
        <Link
          href={viewPath(
            sessionId,
            "events",
            new URLSearchParams({ filter: eventsFilter(finding) }).toString(),
          )}
          className="text-accent underline"
          onClick={(event) => event.stopPropagation()}
        >
          {plural(finding.events, "event")}
        </Link>
      ),
    },
    {
      id: "process",
      label: "Process",
      width: 140,
      cell: ({ process_name, pid }) => (
        <>
          <SafeText text={process_name ?? ""} limit={60} />{" "}
          <span className="font-mono text-muted">{pid}</span>
        </>
      ),
    },
    {
      id: "target",
      label: "Target",
      width: 200,
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
    {
      id: "first",
      label: "First",
      width: 116,
      look: "font-mono text-muted",
      cell: ({ first_at }) => <Clock at={first_at} />,
    },
  ];
}

interface Props {
  sessionId: string;
  findings: readonly Finding[];
  chosen?: string;
  onChoose: (finding: Finding | undefined) => void;
}

/** What the rules found, the most severe first. */
export function FindingTable({ sessionId, findings, chosen, onChoose }: Props) {
  return (
    <Grid
      label="Findings"
      one="finding"
      name="findings"
      columns={columnsOf(sessionId)}
      rows={findings}
      keyOf={(finding) => finding.rule_id}
      chosen={chosen}
      onChoose={onChoose}
    />
  );
}
