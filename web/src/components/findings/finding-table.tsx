import type { components } from "@/api/schema";
import { Clock } from "@/components/clock";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { EventsLink, factColumns, levelColumn } from "./columns";
import { FailedSign } from "./failed-sign";

export type Finding = components["schemas"]["Finding"];

function columnsOf(sessionId: string): readonly TableColumn<Finding>[] {
  return [
    levelColumn,
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
      cell: (finding) => <EventsLink sessionId={sessionId} finding={finding} />,
    },
    ...factColumns,
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
