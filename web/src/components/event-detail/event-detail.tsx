import { ChevronDown, ChevronUp, Download, X } from "lucide-react";
import { Tabs } from "radix-ui";
import { useState } from "react";
import { messageOf } from "@/api/client";
import { type EventText, neighbour, useEvent } from "@/api/event";
import { CatchErrors } from "@/components/catch-errors";
import { CopyButton } from "@/components/copy-button";
import { download } from "@/components/download-button";
import { KindBadge } from "@/components/event-table/kind-badge";
import { JsonTree } from "@/components/json-tree/json-tree";
import { SafeText } from "@/components/safe-text";
import { Pane } from "@/components/split";
import { Button } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useNotify } from "@/components/ui/toast";
import { useShortcut } from "@/hooks/shortcuts";
import { readStored, writeStored } from "@/hooks/stored";
import { useView } from "@/hooks/view";
import { kindOf, typeLabel } from "@/lib/kind";
import { formatCount } from "@/lib/number";
import { formatClock, formatDateTime, zoneName } from "@/lib/time";
import { ContentTab } from "./content-tab";
import { FieldsTab } from "./fields-tab";
import { RawTab } from "./raw-tab";
import { RelatedTab } from "./related-tab";

const tabNames = ["Fields", "JSON", "Content", "Raw", "Related"] as const;
type TabName = (typeof tabNames)[number];
const tabStore = "ospulse.detail.tab";

/** The details of one event, beside the view that opened it. */
export default function EventDetail({ sessionId, seq }: { sessionId: string; seq: number }) {
  const { filter, change } = useView();
  const notify = useNotify();
  const query = useEvent(sessionId, seq);
  const { event, error, isPending } = query;
  const close = () => change({ seq: undefined });
  const go = async (by: -1 | 1) => {
    try {
      const next = await neighbour(sessionId, seq, by, filter);
      if (next) change({ seq: next.seq });
      else notify(by < 0 ? "This is the first event" : "This is the last event");
    } catch (cause) {
      notify(messageOf(cause), { bad: true });
    }
  };
  useShortcut("[", "Previous event", "Details", () => void go(-1));
  useShortcut("]", "Next event", "Details", () => void go(1));
  return (
    <Pane label={`Event ${seq}`}>
      <header className="border-b border-line px-3 pt-2 pb-2">
        <div className="flex items-center gap-1">
          <h2 className="flex min-w-0 flex-1 items-center gap-2 font-semibold">
            {event && <KindBadge type={event.fields.event_type} />}
            <span className="truncate">{event ? <Title event={event} /> : `Event ${formatCount(seq)}`}</span>
          </h2>
          <Button
            look="ghost"
            size="smallIcon"
            aria-label="Previous event"
            title="Previous event ([)"
            onClick={() => void go(-1)}
          >
            <ChevronUp size={16} />
          </Button>
          <Button
            look="ghost"
            size="smallIcon"
            aria-label="Next event"
            title="Next event (])"
            onClick={() => void go(1)}
          >
            <ChevronDown size={16} />
          </Button>
          {event && (
            <>
              <CopyButton text={event.text} label="Copy the whole event as JSON" />
              <Button
                look="ghost"
                size="smallIcon"
                aria-label="Download the event as JSON"
                title="Download the event as JSON"
                onClick={() => download(`event-${event.fields.seq}.json`, event.text)}
              >
                <Download size={14} />
              </Button>
            </>
          )}
          <Button
            look="ghost"
            size="smallIcon"
            aria-label="Close the details"
            title="Close (Esc)"
            onClick={close}
          >
            <X size={16} />
          </Button>
        </div>
        {event && <Times event={event} />}
      </header>
      {error !== null && !event && <ErrorState error={error} retry={() => void query.refetch()} />}
      {isPending && <LoadingState label="Loading the event" />}
      {event && (
        <CatchErrors key={event.fields.seq}>
          <DetailTabs sessionId={sessionId} event={event} />
        </CatchErrors>
      )}
    </Pane>
  );
}

function Title({ event }: { event: EventText }) {
  const { event_type, operation } = event.fields;
  return (
    <>
      <span className={kindOf(event_type).text}>
        <SafeText text={typeLabel(event_type)} limit={60} />
      </span>
      {operation !== null && (
        <>
          {" "}
          <SafeText text={operation} limit={60} />
        </>
      )}
    </>
  );
}

/** The time to the microsecond, in local time and in UTC if they differ. */
function Times({ event }: { event: EventText }) {
  const { timestamp, seq } = event.fields;
  const at = new Date(timestamp);
  const zones = zoneName("local", at) === "UTC" ? (["utc"] as const) : (["utc", "local"] as const);
  return (
    <p className="mt-0.5 flex flex-wrap gap-x-3 text-xs text-muted tabular-nums">
      <span>#{formatCount(seq)}</span>
      {zones.map((zone) => (
        <span key={zone} className="whitespace-nowrap">
          {formatDateTime(timestamp, zone).slice(0, 10)} {formatClock(timestamp, zone)} {zoneName(zone, at)}
        </span>
      ))}
    </p>
  );
}

function DetailTabs({ sessionId, event }: { sessionId: string; event: EventText }) {
  const [tab, setTab] = useState<TabName>(() => {
    const stored = readStored<TabName>(tabStore);
    return stored && tabNames.includes(stored) ? stored : "Fields";
  });
  const choose = (name: string) => {
    const next = tabNames.find((other) => other === name) ?? "Fields";
    setTab(next);
    writeStored(tabStore, next);
  };
  return (
    <Tabs.Root value={tab} onValueChange={choose} className="flex min-h-0 flex-1 flex-col">
      <Tabs.List aria-label="Details" className="flex shrink-0 overflow-x-auto border-b border-line px-2">
        {tabNames.map((name) => (
          <Tabs.Trigger
            key={name}
            value={name}
            className="-mb-px h-8 -outline-offset-2 border-b-2 border-transparent px-2.5 text-muted hover:text-ink data-[state=active]:border-accent data-[state=active]:font-medium data-[state=active]:text-accent"
          >
            {name}
          </Tabs.Trigger>
        ))}
      </Tabs.List>
      <Tabs.Content value={tab} className="flex min-h-0 flex-1 flex-col">
        <TabContent tab={tab} sessionId={sessionId} event={event} />
      </Tabs.Content>
    </Tabs.Root>
  );
}

function TabContent({ tab, sessionId, event }: { tab: TabName; sessionId: string; event: EventText }) {
  switch (tab) {
    case "Fields":
      return <FieldsTab event={event} />;
    case "JSON":
      if (!event.data) return <EmptyState title="This event has no data" />;
      return <JsonTree text={event.text} data={event.data} />;
    case "Content":
      return <ContentTab event={event} />;
    case "Raw":
      return <RawTab text={event.text} />;
    case "Related":
      return <RelatedTab sessionId={sessionId} event={event} />;
  }
}
