import type { operations } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/ui/grid";
import { SortHeader } from "@/components/ui/sort-header";
import { useSettings } from "@/hooks/settings";
import { formatBytes, formatShort } from "@/lib/number";
import { formatClock } from "@/lib/time";
import type { FileSummary } from "./file-detail";

const columns =
  "grid items-center gap-3 px-3 grid-cols-[minmax(0,1fr)_4.5rem] md:grid-cols-[minmax(12rem,1fr)_4.5rem_4rem_4rem_4.5rem_4.5rem_4.5rem_6rem_7rem_minmax(6rem,9rem)_6.5rem]";
const more = "hidden md:block";
const right = `${more} justify-end`;

export type FileSort = NonNullable<NonNullable<operations["listFiles"]["parameters"]["query"]>["sort"]>;

interface Props {
  files: readonly FileSummary[];
  sort: FileSort;
  chosen?: string;
  onSort: (sort: FileSort) => void;
  onChoose: (path: string | undefined) => void;
  onEnd: () => void;
}

const eventsOf = (file: FileSummary) =>
  file.reads + file.writes + file.creates + file.renames + file.deletes + file.others;

export function FileTable({ files, sort, chosen, onSort, onChoose, onEnd }: Props) {
  const sorted = (by: FileSort, label: string, className = "") => (
    <SortHeader
      label={label}
      active={sort === by}
      descending={by !== "path"}
      onSort={() => onSort(by)}
      className={className}
    />
  );
  return (
    <Grid
      label="Files"
      one="file"
      rows={files}
      keyOf={(file) => file.path}
      columns={columns}
      innerClass="md:min-w-[70rem]"
      chosen={chosen}
      onChoose={(file) => onChoose(file?.path)}
      onEnd={onEnd}
      header={
        <>
          {sorted("path", "Path")}
          {sorted("events", "Events", "justify-end")}
          {sorted("reads", "Reads", right)}
          {sorted("writes", "Writes", right)}
          {sorted("creates", "Created", right)}
          {sorted("renames", "Renamed", right)}
          {sorted("deletes", "Deleted", right)}
          {sorted("bytes_read", "Bytes read", right)}
          {sorted("bytes_written", "Bytes written", right)}
          <span role="columnheader" className={more}>
            Process
          </span>
          {sorted("last", "Last", more)}
        </>
      }
      cells={(file) => <Cells file={file} />}
    />
  );
}

function Cells({ file }: { file: FileSummary }) {
  const { zone } = useSettings();
  const count = (n: number, look = "") => (
    <span role="gridcell" className={`${more} text-right tabular-nums ${n === 0 ? "text-muted" : look}`}>
      {n === 0 ? "·" : formatShort(n)}
    </span>
  );
  const first = file.processes[0];
  return (
    <>
      <span role="gridcell" className="truncate font-mono">
        <SafeText text={file.path} limit={400} />
      </span>
      <span role="gridcell" className="text-right tabular-nums">
        {formatShort(eventsOf(file))}
      </span>
      {count(file.reads)}
      {count(file.writes, "font-semibold text-file")}
      {count(file.creates, "font-semibold text-good")}
      {count(file.renames, "font-semibold text-warn")}
      {count(file.deletes, "font-semibold text-bad")}
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {formatBytes(file.bytes_read)}
      </span>
      <span role="gridcell" className={`${more} text-right text-muted tabular-nums`}>
        {formatBytes(file.bytes_written)}
      </span>
      <span role="gridcell" className={`${more} truncate`}>
        {first && <SafeText text={first.name || String(first.pid ?? "")} limit={60} />}
        {file.process_count > 1 && <span className="text-muted"> +{file.process_count - 1}</span>}
      </span>
      <span role="gridcell" className={`${more} font-mono text-muted`}>
        {formatClock(file.last_at, zone).slice(0, 12)}
      </span>
    </>
  );
}
