import type { operations } from "@/api/schema";
import { Clock } from "@/components/clock";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { formatBytes, formatShort } from "@/lib/number";
import type { FileSummary } from "./file-detail";

export type FileSort = NonNullable<NonNullable<operations["listFiles"]["parameters"]["query"]>["sort"]>;

const eventsOf = (file: FileSummary) =>
  file.reads + file.writes + file.creates + file.renames + file.deletes + file.others;

type FileColumn = TableColumn<FileSummary> & { id: FileSort | "process" };
const number = { align: "right", sort: "descending" } as const;

/** The column of an operation. */
function counted(
  id: "reads" | "writes" | "creates" | "renames" | "deletes",
  label: string,
  width: number,
  look = "",
): FileColumn {
  const cell = ({ [id]: n }: FileSummary) => (
    <span className={n === 0 ? "text-muted" : look}>{n === 0 ? "·" : formatShort(n)}</span>
  );
  return { ...number, id, label, width, cell };
}

const columns: readonly FileColumn[] = [
  {
    id: "path",
    label: "Path",
    width: 204,
    grow: "1fr",
    phone: 0,
    sort: "ascending",
    look: "font-mono",
    cell: (file) => <SafeText text={file.path} limit={400} />,
  },
  {
    ...number,
    id: "events",
    label: "Events",
    width: 84,
    phone: 84,
    cell: (file) => formatShort(eventsOf(file)),
  },
  counted("reads", "Reads", 76),
  counted("writes", "Writes", 76, "font-semibold text-file"),
  counted("creates", "Created", 84, "font-semibold text-good"),
  counted("renames", "Renamed", 84, "font-semibold text-warn"),
  counted("deletes", "Deleted", 84, "font-semibold text-bad"),
  {
    ...number,
    id: "bytes_read",
    label: "Bytes read",
    width: 108,
    look: "text-muted",
    cell: (file) => formatBytes(file.bytes_read),
  },
  {
    ...number,
    id: "bytes_written",
    label: "Bytes written",
    width: 124,
    look: "text-muted",
    cell: (file) => formatBytes(file.bytes_written),
  },
  {
    id: "process",
    label: "Process",
    width: 108,
    grow: "156px",
    cell: ({ processes: [first], process_count }) => (
      <>
        {first && <SafeText text={first.name || String(first.pid ?? "")} limit={60} />}
        {process_count > 1 && <span className="text-muted"> +{process_count - 1}</span>}
      </>
    ),
  },
  {
    id: "last",
    label: "Last",
    width: 116,
    sort: "descending",
    look: "font-mono text-muted",
    cell: (file) => <Clock at={file.last_at} />,
  },
];

interface Props {
  files: readonly FileSummary[];
  sort: FileSort;
  chosen?: string;
  onSort: (sort: FileSort) => void;
  onChoose: (path: string | undefined) => void;
  onEnd: () => void;
}

export function FileTable({ files, sort, chosen, onSort, onChoose, onEnd }: Props) {
  return (
    <Grid
      label="Files"
      one="file"
      name="files"
      columns={columns}
      rows={files}
      keyOf={(file) => file.path}
      sort={sort}
      onSort={(id) => onSort(id as FileSort)}
      chosen={chosen}
      onChoose={(file) => onChoose(file?.path)}
      onEnd={onEnd}
    />
  );
}
