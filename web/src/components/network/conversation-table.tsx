import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/ui/grid";
import { SortHeader } from "@/components/ui/sort-header";
import { useSettings } from "@/hooks/settings";
import { formatBytes, formatShort, plural } from "@/lib/number";
import { plainText } from "@/lib/text";
import { formatClock } from "@/lib/time";

export type Conversation = components["schemas"]["Conversation"];
export type ConversationSort = "bytes" | "packets" | "last";

const columns =
  "grid items-center gap-3 px-3 grid-cols-[4rem_minmax(0,1fr)_4.5rem] md:grid-cols-[4.5rem_minmax(11rem,1fr)_minmax(11rem,1.3fr)_4.5rem_4rem_5rem_5rem_5rem_6.5rem]";

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
  const sorted = (by: ConversationSort, label: string, className: string) => (
    <SortHeader
      label={label}
      active={sort === by}
      descending
      onSort={() => onSort(by)}
      className={className}
    />
  );
  const wide = "hidden md:block";
  return (
    <Grid
      label="Conversations"
      one="conversation"
      className="min-h-24"
      innerClass="md:min-w-[62rem]"
      rows={conversations}
      keyOf={(conversation) => conversation.id}
      columns={columns}
      chosen={chosen}
      onChoose={(conversation) => onChoose(conversation?.id)}
      onEnd={onEnd}
      header={
        <>
          <span role="columnheader">Protocol</span>
          <span role="columnheader" className={wide}>
            Local
          </span>
          <span role="columnheader">Remote</span>
          {sorted("packets", "Packets", `${wide} justify-end`)}
          <span role="columnheader" className={`${wide} text-right`}>
            Calls
          </span>
          {sorted("bytes", "Bytes", "justify-end")}
          <span role="columnheader" className={`${wide} text-right`}>
            Sent
          </span>
          <span role="columnheader" className={`${wide} text-right`}>
            Received
          </span>
          {sorted("last", "Last", wide)}
        </>
      }
      cells={(conversation) => <Cells conversation={conversation} />}
    />
  );
}

/** Formats an endpoint. An IPv6 address is in brackets if a port follows. */
export function endText({ host, port }: Conversation["local"]): string {
  if (host === null) return port === null ? "–" : `:${port}`;
  if (port === null) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function Cells({ conversation }: { conversation: Conversation }) {
  const { zone } = useSettings();
  const { local, remote, hosts, errors, opened, processes } = conversation;
  return (
    <>
      <span role="gridcell" className="truncate font-medium" title={plainText(conversation.names.join(", "))}>
        <SafeText text={conversation.protocol || conversation.names[0] || "–"} limit={30} />
        {opened > 1 && (
          <span className="ml-1 text-muted" title={`Opened ${plural(opened, "time")}, one after the other`}>
            ×{formatShort(opened)}
          </span>
        )}
      </span>
      <span role="gridcell" className="hidden truncate md:block">
        <Process name={conversation.process_name} pid={conversation.pid} others={processes.length - 1} />
        <SafeText text={endText(local)} limit={200} className="font-mono" />
      </span>
      <span role="gridcell" className="truncate">
        {conversation.remote_pid !== null && (
          <Process name={conversation.remote_process_name} pid={conversation.remote_pid} others={0} />
        )}
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
      </span>
      <Amount text={formatShort(conversation.packets)} dim={conversation.packets === 0} />
      <Amount text={formatShort(conversation.calls)} dim={conversation.calls === 0} />
      <span
        role="gridcell"
        className="text-right tabular-nums"
        title={conversation.bytes_of === "packets" ? "of the packets, with headers" : "of the calls"}
      >
        {formatBytes(conversation.bytes)}
      </span>
      <Amount text={formatBytes(conversation.sent_bytes)} dim={conversation.sent_bytes === 0} />
      <Amount text={formatBytes(conversation.received_bytes)} dim={conversation.received_bytes === 0} />
      <span role="gridcell" className="hidden font-mono text-muted md:block">
        {formatClock(conversation.last_at, zone).slice(0, 12)}
      </span>
    </>
  );
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

function Amount({ text, dim }: { text: string; dim: boolean }) {
  return (
    <span role="gridcell" className={`hidden text-right tabular-nums md:block ${dim ? "text-muted" : ""}`}>
      {dim ? "·" : text}
    </span>
  );
}
