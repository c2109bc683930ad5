import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/ui/grid";
import { SortHeader } from "@/components/ui/sort-header";
import { useSettings } from "@/hooks/settings";
import { formatBytes, formatShort } from "@/lib/number";
import { plainText } from "@/lib/text";
import { formatClock } from "@/lib/time";

export type Conversation = components["schemas"]["Conversation"];
export type ConversationSort = "bytes" | "packets" | "last";

const columns =
  "grid items-center gap-3 px-3 grid-cols-[4rem_minmax(0,1fr)_4.5rem] md:grid-cols-[4rem_minmax(0,1.4fr)_minmax(0,1fr)_8rem_4.5rem_4.5rem_5rem_5rem_5rem_7rem]";

interface Props {
  conversations: readonly Conversation[];
  sort: ConversationSort;
  chosen?: string;
  onSort: (sort: ConversationSort) => void;
  onChoose: (id: string | undefined) => void;
  onEnd: () => void;
}

/** The conversations: one row per process and pair of endpoints. */
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
      rows={conversations}
      keyOf={(conversation) => conversation.id}
      columns={columns}
      chosen={chosen}
      onChoose={(conversation) => onChoose(conversation?.id)}
      onEnd={onEnd}
      header={
        <>
          <span role="columnheader">Proto</span>
          <span role="columnheader">Peer</span>
          <span role="columnheader" className={wide}>
            Here
          </span>
          <span role="columnheader" className={wide}>
            Process
          </span>
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

/** The bytes of the packets if there are any, else those of the calls. Never their sum: both count the same bytes. */
function bytesOf({ packets, packet_bytes, call_bytes }: Conversation): number {
  return packets > 0 ? packet_bytes : call_bytes;
}

/** Formats an endpoint. An IPv6 address is in brackets if a port follows. */
export function endText({ host, port }: Conversation["local"]): string {
  if (host === null) return port === null ? "–" : `:${port}`;
  if (port === null) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function Cells({ conversation }: { conversation: Conversation }) {
  const { zone } = useSettings();
  return (
    <>
      <span role="gridcell" className="truncate font-medium" title={plainText(conversation.names.join(", "))}>
        <SafeText text={conversation.protocol || conversation.names[0] || "–"} limit={30} />
      </span>
      <span role="gridcell" className="truncate font-mono">
        <SafeText text={endText(conversation.remote)} limit={200} />
        {conversation.hosts.length > 0 && (
          <span className="ml-2 font-sans text-accent">
            <SafeText text={conversation.hosts.join(", ")} limit={200} />
          </span>
        )}
      </span>
      <span role="gridcell" className="hidden truncate font-mono text-muted md:block">
        <SafeText text={endText(conversation.local)} limit={200} />
      </span>
      <span role="gridcell" className="hidden truncate md:block">
        {conversation.pid === null ? (
          <span className="text-muted">unknown</span>
        ) : (
          <>
            <SafeText text={conversation.process_name} limit={60} />{" "}
            <span className="font-mono text-muted">{conversation.pid}</span>
          </>
        )}
      </span>
      <Amount text={formatShort(conversation.packets)} dim={conversation.packets === 0} />
      <Amount text={formatShort(conversation.calls)} dim={conversation.calls === 0} />
      <span role="gridcell" className="text-right tabular-nums">
        {formatBytes(bytesOf(conversation))}
      </span>
      <Amount text={formatBytes(conversation.sent_bytes)} dim={conversation.sent_bytes === 0} />
      <Amount text={formatBytes(conversation.received_bytes)} dim={conversation.received_bytes === 0} />
      <span role="gridcell" className="hidden font-mono text-muted md:block">
        {formatClock(conversation.last_at, zone).slice(0, 12)}
      </span>
    </>
  );
}

function Amount({ text, dim }: { text: string; dim: boolean }) {
  return (
    <span role="gridcell" className={`hidden text-right tabular-nums md:block ${dim ? "text-muted" : ""}`}>
      {dim ? "·" : text}
    </span>
  );
}
