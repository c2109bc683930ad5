import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/ui/grid";
import { useSettings } from "@/hooks/settings";
import { formatBytes } from "@/lib/number";
import { plainText } from "@/lib/text";
import { formatClock, formatDuration } from "@/lib/time";
import type { Exchange, Flow } from "./flows";

const columns =
  "grid items-center gap-3 px-3 grid-cols-[4rem_3.5rem_minmax(0,1fr)] md:grid-cols-[6.5rem_4.5rem_3.5rem_3.5rem_minmax(8rem,13rem)_minmax(8rem,1fr)_8rem_5rem_5rem_minmax(7rem,14rem)]";
const more = "hidden md:block";

interface Props {
  flows: readonly Exchange[];
  chosen?: Exchange;
  onChoose: (flow: Exchange | undefined) => void;
  onEnd: () => void;
}

/** The requests, as in a browser's network panel: one row for each, whoever saw it. */
export function FlowTable({ flows, chosen, onChoose, onEnd }: Props) {
  return (
    <Grid
      label="HTTP requests"
      one="request"
      rows={flows}
      keyOf={(flow) => flow.seq}
      columns={columns}
      innerClass="md:min-w-[66rem]"
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
            Scheme
          </span>
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
            Duration
          </span>
          <span role="columnheader" className={more}>
            Process
          </span>
        </>
      }
      cells={(flow) => <Cells flow={flow} />}
    />
  );
}

function Cells({ flow }: { flow: Exchange }) {
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
      <span role="gridcell" className={`${more} ${flow.scheme === "https" ? "text-good" : "text-muted"}`}>
        <SafeText text={flow.scheme || "–"} limit={20} />
      </span>
      <span role="gridcell" className={`${more} truncate`} title={plainText(hostText(flow))}>
        <SafeText text={hostText(flow)} limit={200} />
      </span>
      <span role="gridcell" className="truncate font-mono">
        <span className="text-muted md:hidden">
          <SafeText text={originText(flow)} limit={220} />
        </span>
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
        <SafeText
          text={[flow, ...flow.others]
            .filter((side) => side.pid !== null)
            .map(processText)
            .join(" → ")}
          limit={140}
        />
      </span>
    </>
  );
}

/** The host of a request with its port, an IPv6 address in brackets. */
function hostText({ host, port }: Flow): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return port === undefined ? name : `${name}:${port}`;
}

/** The beginning of a request's URL, without the usual port of its scheme. */
function originText(flow: Flow): string {
  const usual = { http: 80, https: 443 }[flow.scheme];
  return `${flow.scheme && `${flow.scheme}://`}${hostText(flow.port === usual ? { ...flow, port: undefined } : flow)}`;
}

/** The process that a side of an exchange belongs to. */
export function processText({ process, pid }: Flow): string {
  return pid === null ? "" : `${process ?? ""} ${pid}`.trim();
}

function statusLook(status: number | undefined): string {
  if (status === undefined) return "text-muted";
  if (status >= 500) return "text-bad font-semibold";
  if (status >= 400) return "text-warn";
  if (status >= 300) return "text-file";
  return "text-good";
}
