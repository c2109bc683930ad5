import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";
import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { SortHeader } from "@/components/ui/sort-header";
import { useShortcut } from "@/hooks/shortcuts";
import { formatBytes, formatShort } from "@/lib/number";
import { useSettings } from "@/lib/settings";
import { formatClock } from "@/lib/time";

export type Conversation = components["schemas"]["Conversation"];
export type ConversationSort = "bytes" | "packets" | "last";

const rowHeight = 28;
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

/** Who talked with whom: one row for two ends and a process. */
export function ConversationTable({ conversations, sort, chosen, onSort, onChoose, onEnd }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: conversations.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height: 400 },
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= conversations.length - 50) onEnd();
  }, [last, conversations.length, onEnd]);
  const index = conversations.findIndex((conversation) => conversation.id === chosen);
  const move = (step: number) => {
    const next = Math.min(conversations.length - 1, Math.max(0, index + step));
    rows.scrollToIndex(next);
    onChoose(conversations[next]?.id);
  };
  useShortcut("j", "Next conversation", "Network", () => move(1));
  useShortcut("k", "Previous conversation", "Network", () => move(-1));
  useShortcut("Escape", "Close the conversation", "Network", () => onChoose(undefined));
  const header = (by: ConversationSort, label: string, className: string) => (
    <SortHeader
      label={label}
      active={sort === by}
      descending
      onSort={() => onSort(by)}
      className={className}
    />
  );
  return (
    <div ref={scroller} className="min-h-24 min-w-0 flex-1 overflow-auto">
      <div role="grid" aria-label="Conversations" aria-rowcount={conversations.length + 1}>
        <div
          role="row"
          aria-rowindex={1}
          className={`${columns} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
        >
          <span role="columnheader">Proto</span>
          <span role="columnheader">Peer</span>
          <span role="columnheader" className="hidden md:block">
            Here
          </span>
          <span role="columnheader" className="hidden md:block">
            Process
          </span>
          {header("packets", "Packets", "hidden justify-end md:block")}
          <span role="columnheader" className="hidden text-right md:block">
            Calls
          </span>
          {header("bytes", "Bytes", "justify-end")}
          <span role="columnheader" className="hidden text-right md:block">
            Sent
          </span>
          <span role="columnheader" className="hidden text-right md:block">
            Received
          </span>
          {header("last", "Last", "hidden md:block")}
        </div>
        <div role="rowgroup" className="relative" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const conversation = conversations[item.index];
            if (!conversation) return null;
            const selected = conversation.id === chosen;
            return (
              <div
                key={conversation.id}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={selected}
                tabIndex={selected || (index < 0 && item.index === 0) ? 0 : -1}
                onClick={() => onChoose(selected ? undefined : conversation.id)}
                onKeyDown={(event) => {
                  if (event.key === "Enter") onChoose(conversation.id);
                  else if (event.key === "ArrowDown") move(1);
                  else if (event.key === "ArrowUp") move(-1);
                  else return;
                  event.preventDefault();
                }}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                className={`${columns} absolute inset-x-0 cursor-pointer border-b border-line text-xs -outline-offset-2 ${selected ? "bg-selected" : "bg-surface hover:bg-hover"}`}
              >
                <Cells conversation={conversation} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** Bytes of the wire where packets were seen, else what calls moved: never both, as they are the same bytes. */
export function bytesOf({ packets, packet_bytes, call_bytes }: Conversation): number {
  return packets > 0 ? packet_bytes : call_bytes;
}

/** An end as people write it; an IPv6 address in brackets when a port follows. */
export function endText({ host, port }: Conversation["local"]): string {
  if (host === null) return port === null ? "–" : `:${port}`;
  if (port === null) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function Cells({ conversation }: { conversation: Conversation }) {
  const { zone } = useSettings();
  return (
    <>
      <span role="gridcell" className="truncate font-medium" title={conversation.names.join(", ")}>
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
          <span className="text-muted">not told</span>
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
