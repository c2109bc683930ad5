import { useState } from "react";
import { Link, useLocation } from "wouter";
import type { ListedFinding } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { useSettings } from "@/hooks/settings";
import { sessionTitle } from "@/lib/session";
import { formatDateTime } from "@/lib/time";
import { viewPath } from "@/lib/view";
import { EventsLink, factColumns, levelColumn } from "./columns";
import { FailedSign } from "./failed-sign";

const titleOf = ({ session_id, session_name, file_name }: ListedFinding) =>
  sessionTitle({ id: session_id, name: session_name, file_name });

const columns: readonly TableColumn<ListedFinding>[] = [
  levelColumn,
  {
    id: "title",
    label: "Finding",
    width: 260,
    grow: "1.5fr",
    phone: 0,
    cell: (finding) => (
      <>
        <Link
          href={viewPath(finding.session_id, "findings")}
          className="block truncate font-medium hover:text-accent"
        >
          <FailedSign finding={finding} />
          <SafeText text={finding.title} limit={200} />
        </Link>
        <span className="block truncate text-muted">
          <SafeText text={titleOf(finding)} limit={200} />
        </span>
      </>
    ),
  },
  {
    id: "events",
    label: "Events",
    width: 100,
    phone: 84,
    cell: (finding) => <EventsLink sessionId={finding.session_id} finding={finding} />,
  },
  ...factColumns,
  {
    id: "first",
    label: "First",
    width: 190,
    look: "text-muted",
    cell: ({ first_at }) => <Time at={first_at} />,
  },
];

function Time({ at }: { at: string }) {
  const { zone } = useSettings();
  return formatDateTime(at, zone);
}

/** What the rules found in all sessions, the most severe and newest first. */
export function AllFindings({ findings, onEnd }: { findings: readonly ListedFinding[]; onEnd: () => void }) {
  const [chosen, setChosen] = useState<string>();
  const [, navigate] = useLocation();
  const keyOf = ({ session_id, rule_id }: ListedFinding) => `${session_id} ${rule_id}`;
  return (
    <Grid
      label="Findings"
      one="finding"
      name="all-findings"
      columns={columns}
      rows={findings}
      keyOf={keyOf}
      rowHeight={44}
      chosen={chosen}
      onChoose={(finding) => setChosen(finding && keyOf(finding))}
      onOpen={({ session_id }) => navigate(viewPath(session_id, "findings"))}
      onEnd={onEnd}
    />
  );
}
