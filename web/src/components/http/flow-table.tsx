import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/ui/grid";
import { useSettings } from "@/hooks/settings";
import { formatBytes } from "@/lib/number";
import { formatClock, formatDuration } from "@/lib/time";
import type { Flow } from "./flows";

const columns = "grid items-center gap-3 px-3 grid-cols-[4rem_3.5rem_minmax(0,1fr)]";
const wide = `${columns} md:grid-cols-[6.5rem_4.5rem_3.5rem_11rem_minmax(0,1fr)_9rem_5rem_5rem_8rem]`;

interface Props {
  flows: readonly Flow[];
  chosen?: Flow;
  /** Whether only the first columns are shown, because the details are beside the table. */
  narrow: boolean;
  onChoose: (flow: Flow | undefined) => void;
  onEnd: () => void;
}

/** The requests, as in a browser's network panel. */
export function FlowTable({ flows, chosen, narrow, onChoose, onEnd }: Props) {
  const more = narrow ? "hidden" : "hidden md:block";
  return (
    <Grid
      label="HTTP requests"
      one="request"
      rows={flows}
      keyOf={(flow) => flow.seq}
      columns={narrow ? columns : wide}
      chosen={chosen?.seq}
      onChoose={onChoose}
      onEnd={onEnd}
      header={
        <>
          <span role="columnheader" className={more}>
            Time
          </span>
          <span role="columnheader">Method</span>
          <span role="columnheader">Status</span>
          <span role="columnheader" className={more}>
            Host
          </span>
          <span role="columnheader">Path</span>
          <span role="columnheader" className={more}>
            Type
          </span>
          <span role="columnheader" className={`${more} text-right`}>
            Size
          </span>
          <span role="columnheader" className={`${more} text-right`}>
            Took
          </span>
          <span role="columnheader" className={more}>
            Process
          </span>
        </>
      }
      cells={(flow) => <Cells flow={flow} more={more} narrow={narrow} />}
    />
  );
}

function Cells({ flow, more, narrow }: { flow: Flow; more: string; narrow: boolean }) {
  const { zone } = useSettings();
  return (
    <>
      <span role="gridcell" className={`${more} font-mono text-muted`}>
        {formatClock(flow.timestamp, zone).slice(0, 12)}
      </span>
      <span role="gridcell" className="truncate font-medium">
        <SafeText text={flow.method} limit={20} />
      </span>
      <span role="gridcell" className={`font-mono ${statusLook(flow.status)}`}>
        {flow.status ?? "–"}
      </span>
      <span role="gridcell" className={`${more} truncate`}>
        <SafeText text={flow.host} limit={200} />
      </span>
      <span role="gridcell" className="truncate font-mono">
        <SafeText text={flow.host} limit={200} className={`text-muted ${narrow ? "" : "md:hidden"}`} />
        <SafeText text={flow.path} limit={400} />
      </span>
      <span role="gridcell" className={`${more} truncate text-muted`}>
        <SafeText text={flow.contentType.split(";")[0] ?? ""} limit={80} />
      </span>
      <span role="gridcell" className={`${more} text-right tabular-nums`}>
        {flow.responseBytes === undefined ? "–" : formatBytes(flow.responseBytes)}
      </span>
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {flow.micros === undefined ? "–" : formatDuration(flow.micros)}
      </span>
      <span role="gridcell" className={`${more} truncate text-muted`}>
        {flow.pid !== null && (
          <>
            <SafeText text={flow.process ?? ""} limit={60} /> {flow.pid}
          </>
        )}
      </span>
    </>
  );
}

function statusLook(status: number | undefined): string {
  if (status === undefined) return "text-muted";
  if (status >= 500) return "text-bad font-semibold";
  if (status >= 400) return "text-warn";
  if (status >= 300) return "text-file";
  return "text-good";
}
