import { useMemo } from "react";
import { Clock } from "@/components/clock";
import { FindingSign } from "@/components/findings/mark";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { type FindingMark, useFindingMarks } from "@/hooks/findings";
import { formatBytes } from "@/lib/number";
import { plainText } from "@/lib/text";
import { formatDuration } from "@/lib/time";
import type { Exchange, Flow } from "./flows";

const columnsOf = (marks: ReadonlyMap<number, FindingMark>): readonly TableColumn<Exchange>[] => [
  {
    id: "time",
    label: "Time",
    width: 116,
    look: "font-mono text-muted",
    cell: (flow) => <Clock at={flow.timestamp} />,
  },
  {
    id: "method",
    label: "Method",
    width: 84,
    phone: 76,
    look: "font-medium",
    cell: (flow) => <SafeText text={flow.method} limit={20} />,
  },
  {
    id: "status",
    label: "Status",
    width: 68,
    phone: 68,
    look: "font-mono",
    cell: ({ status }) => <span className={statusLook(status)}>{status ?? "–"}</span>,
  },
  {
    id: "scheme",
    label: "Scheme",
    width: 68,
    cell: ({ scheme }) => (
      <SafeText text={scheme || "–"} limit={20} className={scheme === "https" ? "text-good" : "text-muted"} />
    ),
  },
  {
    id: "host",
    label: "Host",
    width: 140,
    grow: "220px",
    cell: (flow) => (
      <span title={plainText(hostText(flow))}>
        <SafeText text={hostText(flow)} limit={200} />
      </span>
    ),
  },
  {
    id: "path",
    label: "Path",
    width: 140,
    grow: "1fr",
    phone: 0,
    look: "font-mono",
    cell: (flow) => (
      <>
        <span className="text-muted md:hidden">
          <SafeText text={originText(flow)} limit={220} />
        </span>
        <FlowSign flow={flow} marks={marks} />
        <SafeText text={flow.path} limit={400} />
      </>
    ),
  },
  {
    id: "type",
    label: "Type",
    width: 140,
    look: "text-muted",
    cell: (flow) => <SafeText text={flow.contentType.split(";")[0] ?? ""} limit={80} />,
  },
  {
    id: "size",
    label: "Size",
    width: 92,
    align: "right",
    cell: ({ responseBytes }) => (responseBytes === undefined ? "–" : formatBytes(responseBytes)),
  },
  {
    id: "duration",
    label: "Duration",
    width: 92,
    align: "right",
    look: "text-muted",
    cell: ({ micros }) => (micros === undefined ? "–" : formatDuration(micros)),
  },
  {
    id: "process",
    label: "Process",
    width: 124,
    grow: "236px",
    look: "text-muted",
    cell: (flow) => (
      <SafeText
        text={[flow, ...flow.others]
          .filter((side) => side.pid !== null)
          .map(processText)
          .join(" → ")}
        limit={140}
      />
    ),
  },
];

interface Props {
  flows: readonly Exchange[];
  chosen?: Exchange;
  onChoose: (flow: Exchange | undefined) => void;
  onEnd: () => void;
}

/** The requests, as in a browser's network panel: one row for each, whoever saw it. */
export function FlowTable({ flows, chosen, onChoose, onEnd }: Props) {
  const marks = useFindingMarks();
  const columns = useMemo(() => columnsOf(marks), [marks]);
  return (
    <Grid
      label="HTTP requests"
      one="request"
      name="http"
      columns={columns}
      rows={flows}
      keyOf={(flow) => flow.seq}
      chosen={chosen?.seq}
      onChoose={onChoose}
      onEnd={onEnd}
    />
  );
}

/** The sign of the findings that point to an event of a request. */
function FlowSign({ flow, marks }: { flow: Exchange; marks: ReadonlyMap<number, FindingMark> }) {
  const seqs = [flow, ...flow.others].flatMap(({ seq, requestSeq, responseSeq }) => [
    seq,
    requestSeq,
    responseSeq,
  ]);
  const seq = seqs.find((seq) => seq !== undefined && marks.has(seq));
  const mark = seq === undefined ? undefined : marks.get(seq);
  return mark && <FindingSign mark={mark} />;
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
