import { X } from "lucide-react";
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { Clock } from "@/components/clock";
import { FindingSign } from "@/components/findings/mark";
import { HexView } from "@/components/hex-view";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { Button } from "@/components/ui/button";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { type FindingMark, useFindingMarks } from "@/hooks/findings";
import { useTypedEvents } from "@/hooks/typed-events";
import { useView } from "@/hooks/view";
import { and } from "@/lib/filter";
import { formatBytes } from "@/lib/number";
import { viewPath, writeView } from "@/lib/view";
import { type Conversation, endText } from "./conversation-table";
import { type PacketRow, packetFields, packetRow } from "./packets";

const columnsOf = (marks: ReadonlyMap<number, FindingMark>): readonly TableColumn<PacketRow>[] => [
  { id: "seq", label: "#", width: 84, align: "right", look: "font-mono text-muted", cell: (row) => row.seq },
  {
    id: "time",
    label: "Time",
    width: 140,
    phone: 128,
    look: "font-mono text-muted",
    cell: (row) => <Clock at={row.timestamp} digits={6} />,
  },
  {
    id: "what",
    label: "Operation",
    width: 108,
    phone: 92,
    look: "font-medium",
    cell: (row) => <SafeText text={row.what} limit={40} />,
  },
  {
    id: "from",
    label: "From",
    width: 60,
    grow: "1fr",
    look: "font-mono",
    cell: (row) => <SafeText text={row.from} limit={120} />,
  },
  {
    id: "to",
    label: "To",
    width: 60,
    grow: "1fr",
    look: "font-mono",
    cell: (row) => <SafeText text={row.to} limit={120} />,
  },
  {
    id: "bytes",
    label: "Bytes",
    width: 84,
    align: "right",
    cell: (row) => (row.bytes === undefined ? "–" : formatBytes(row.bytes)),
  },
  {
    id: "info",
    label: "Details",
    width: 60,
    grow: "2fr",
    phone: 0,
    look: "text-muted",
    cell: ({ seq, info }) => {
      const mark = marks.get(seq);
      return (
        <>
          {mark && <FindingSign mark={mark} />}
          <SafeText text={info} limit={300} />
        </>
      );
    },
  },
];

interface Props {
  sessionId: string;
  conversation: Conversation;
  onClose: () => void;
}

/** The packets and calls of a conversation, and the bytes of the chosen one. */
export function PacketList({ sessionId, conversation, onClose }: Props) {
  const { view, filter } = useView();
  const { events, hasMore, error, isPending, fetchMore } = useTypedEvents(
    sessionId,
    and(conversation.filter, filter),
    packetFields,
  );
  const rows = useMemo(() => events.map(packetRow), [events]);
  const marks = useFindingMarks();
  const columns = useMemo(() => columnsOf(marks), [marks]);
  const [chosen, setChosen] = useState<number>();
  const row = rows.find((candidate) => candidate.seq === chosen);
  const asEvents = viewPath(
    sessionId,
    "events",
    writeView(new URLSearchParams(), {
      ...view,
      filter: and(view.filter, conversation.filter),
      seq: undefined,
    }).toString(),
  );
  return (
    <section
      aria-label="Packets"
      className="flex h-1/2 min-h-48 flex-col border-t border-line-strong bg-surface"
    >
      <header className="flex items-center gap-3 border-b border-line px-3 py-1">
        <h2 className="min-w-0 flex-1 truncate text-xs font-medium">
          <SafeText
            text={`${endText(conversation.local)} ↔ ${endText(conversation.remote)}`}
            limit={300}
            className="font-mono"
          />
        </h2>
        <Link
          href={asEvents}
          className="inline-flex min-h-6 items-center text-xs text-accent hover:underline"
        >
          Show events
        </Link>
        <Button look="ghost" size="smallIcon" aria-label="Close the conversation" onClick={onClose}>
          <X size={14} />
        </Button>
      </header>
      {isPending && <LoadingState label="Loading the packets" />}
      {error !== undefined && rows.length === 0 && <ErrorState error={error} retry={fetchMore} />}
      <div className="flex min-h-0 flex-1">
        <Grid
          label="Packets and calls"
          one="packet"
          name="packets"
          rows={rows}
          keyOf={(each) => each.seq}
          rowHeight={24}
          columns={columns}
          chosen={chosen}
          onChoose={(each) =>
            each ? setChosen(each.seq) : chosen === undefined ? onClose() : setChosen(undefined)
          }
          onEnd={hasMore ? fetchMore : undefined}
        />
        {row && <Bytes row={row} onClose={() => setChosen(undefined)} />}
      </div>
    </section>
  );
}

function Bytes({ row, onClose }: { row: PacketRow; onClose: () => void }) {
  const { change } = useView();
  return (
    <aside
      aria-label="Bytes"
      className="w-[34rem] max-w-1/2 overflow-y-auto border-l border-line p-2 max-md:fixed max-md:inset-0 max-md:z-30 max-md:w-full max-md:max-w-none max-md:bg-surface"
    >
      <div className="mb-1 flex items-center gap-2 text-xs">
        <span className="flex-1 font-medium">Event {row.seq}</span>
        <Button size="small" look="ghost" onClick={() => change({ seq: row.seq }, { push: true })}>
          Open the event
        </Button>
        <Button look="ghost" size="smallIcon" aria-label="Close" onClick={onClose}>
          <X size={14} />
        </Button>
      </div>
      <p className="mb-2 text-xs break-all text-muted">
        <SafeText text={row.info} limit={2000} />
      </p>
      {row.content ? (
        <HexView bytes={row.content} />
      ) : (
        <p className="text-xs text-muted">Its bytes were not captured.</p>
      )}
    </aside>
  );
}
