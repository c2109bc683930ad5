import type { components } from "@/api/schema";
import { Clock } from "@/components/clock";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { formatBytes, formatShort, plural } from "@/lib/number";
import { plainText } from "@/lib/text";

export type Conversation = components["schemas"]["Conversation"];
export type ConversationSort = "bytes" | "packets" | "last";

/** Formats an endpoint. An IPv6 address is in brackets if a port follows. */
export function endText({ host, port }: Conversation["local"]): string {
  if (host === null) return port === null ? "–" : `:${port}`;
  if (port === null) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The process at an end. */
function Process({ name, pid, others }: { name: string; pid: number | null; others: number }) {
  if (pid === null) return null;
  return (
    <span className="mr-2">
      <SafeText text={name} limit={60} /> <span className="font-mono text-muted">{pid}</span>
      {others > 0 && <span className="text-muted"> +{others}</span>}
    </span>
  );
}

/** The column of an amount. */
function amount(
  id: "packets" | "calls" | "sent_bytes" | "received_bytes",
  label: string,
  width: number,
  format: (n: number) => string,
): TableColumn<Conversation> {
  const cell = ({ [id]: n }: Conversation) => (
    <span className={n === 0 ? "text-muted" : ""}>{n === 0 ? "·" : format(n)}</span>
  );
  return { id, label, width, align: "right", cell };
}

const columns: readonly TableColumn<Conversation>[] = [
  {
    id: "protocol",
    label: "Protocol",
    width: 84,
    phone: 84,
    look: "font-medium",
    cell: ({ names, protocol, opened }) => (
      <span title={plainText(names.join(", "))}>
        <SafeText text={protocol || names[0] || "–"} limit={30} />
        {opened > 1 && (
          <span className="ml-1 text-muted" title={`Opened ${plural(opened, "time")}, one after the other`}>
            ×{formatShort(opened)}
          </span>
        )}
      </span>
    ),
  },
  {
    id: "local",
    label: "Local",
    width: 188,
    grow: "1fr",
    cell: ({ process_name, pid, processes, local }) => (
      <>
        <Process name={process_name} pid={pid} others={processes.length - 1} />
        <SafeText text={endText(local)} limit={200} className="font-mono" />
      </>
    ),
  },
  {
    id: "remote",
    label: "Remote",
    width: 188,
    grow: "1.3fr",
    phone: 0,
    cell: (conversation) => <Remote {...conversation} />,
  },
  { ...amount("packets", "Packets", 84, formatShort), sort: "descending" },
  amount("calls", "Calls", 76, formatShort),
  {
    id: "bytes",
    label: "Bytes",
    width: 92,
    phone: 84,
    align: "right",
    sort: "descending",
    cell: ({ bytes, bytes_of }) => (
      <span title={bytes_of === "packets" ? "of the packets, with headers" : "of the calls"}>
        {formatBytes(bytes)}
      </span>
    ),
  },
  amount("sent_bytes", "Sent", 92, formatBytes),
  amount("received_bytes", "Received", 92, formatBytes),
  {
    id: "last",
    label: "Last",
    width: 116,
    sort: "descending",
    look: "font-mono text-muted",
    cell: ({ last_at }) => <Clock at={last_at} />,
  },
];

function Remote({ remote, remote_pid, remote_process_name, hosts, errors }: Conversation) {
  return (
    <>
      {remote_pid !== null && <Process name={remote_process_name} pid={remote_pid} others={0} />}
      <SafeText text={endText(remote)} limit={200} className="font-mono" />
      {hosts.length > 0 && (
        <span className="ml-2 text-accent">
          <SafeText text={hosts.join(", ")} limit={200} />
        </span>
      )}
      {errors > 0 && (
        <span className="ml-2 text-bad" title="ICMP packets report that this end cannot be reached">
          {plural(errors, "ICMP error")}
        </span>
      )}
    </>
  );
}

interface Props {
  conversations: readonly Conversation[];
  sort: ConversationSort;
  chosen?: string;
  onSort: (sort: ConversationSort) => void;
  onChoose: (id: string | undefined) => void;
  onEnd: () => void;
}

/** The conversations: one row for the packets and calls of a connection. */
export function ConversationTable({ conversations, sort, chosen, onSort, onChoose, onEnd }: Props) {
  return (
    <Grid
      label="Conversations"
      one="conversation"
      name="conversations"
      className="min-h-24"
      columns={columns}
      rows={conversations}
      keyOf={(conversation) => conversation.id}
      sort={sort}
      onSort={(id) => onSort(id as ConversationSort)}
      chosen={chosen}
      onChoose={(conversation) => onChoose(conversation?.id)}
      onEnd={onEnd}
    />
  );
}
