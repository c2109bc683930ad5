import { ChevronDown, ChevronRight, Maximize2, ZoomIn } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { messageOf, type SessionDetail } from "@/api/client";
import { useSession } from "@/api/queries";
import { Button } from "@/components/ui/button";
import { usePlacedMarks } from "@/hooks/findings";
import { useLive } from "@/hooks/live";
import { useIsNarrow } from "@/hooks/media";
import { useSessionStream } from "@/hooks/session-stream";
import { useSettings } from "@/hooks/settings";
import { useShortcut } from "@/hooks/shortcuts";
import { readStored, writeStored } from "@/hooks/stored";
import { useView } from "@/hooks/view";
import { plural } from "@/lib/number";
import { formatDuration, toMicros } from "@/lib/time";
import { viewFilter } from "@/lib/view";
import { type Range, sumByKind } from "./bars";
import { clock } from "./clock";
import { plotHeight } from "./draw";
import { Legend } from "./legend";
import { lossMarks } from "./losses";
import { Plot } from "./plot";
import { rangeOfSpan, spanOfRange } from "./range";
import { useHistogram } from "./use-histogram";
import { useLateEvents } from "./use-late-events";

const key = "ospulse.timeline";

/** The session's events over time, by kind. The reader selects a span for all views in it. */
export function Timeline({ sessionId }: { sessionId: string }) {
  const { data: session } = useSession(sessionId);
  useLateEvents(sessionId);
  // On narrow screens the rows need the room.
  const isNarrow = useIsNarrow();
  const [isOpen, setOpen] = useState(() => (readStored(key) ?? (isNarrow ? "closed" : "open")) === "open");
  const toggle = () => {
    writeStored(key, isOpen ? "closed" : "open");
    setOpen(!isOpen);
  };
  useShortcut("T", "Show or hide the timeline", "Views", toggle);
  if (!session) return null;
  return (
    <section aria-label="Timeline" className="border-b border-line bg-surface px-3 pt-1 max-sm:pt-0.5">
      {session.event_count === 0 || session.first_event_at === null ? (
        <p className="pb-1 text-xs text-muted">No events yet</p>
      ) : (
        <Counts session={session} isOpen={isOpen} onToggle={toggle} />
      )}
    </section>
  );
}

interface CountsProps {
  session: SessionDetail;
  isOpen: boolean;
  onToggle: () => void;
}

function Counts({ session, isOpen, onToggle }: CountsProps) {
  const { view, change } = useView();
  const { zone } = useSettings();
  const [zoom, setZoom] = useState<Range>();
  const head = useRef<HTMLDivElement>(null);
  const width = useWidth(head);
  const losses = useMemo(() => lossMarks(session), [session]);
  const findings = usePlacedMarks(session.id);
  const span = useMemo(() => rangeOfSpan(view.span), [view.span]);

  const sessionId = session.id;
  const filter = viewFilter(view, { span: false });
  // In steps, so that resizing the window does not cause a request for every pixel.
  const buckets = Math.min(400, Math.max(40, Math.floor(width / 80) * 20));
  const range = useResting(zoom);
  const isDrawn = isOpen && width > 0;
  const main = useHistogram({ sessionId, filter, buckets, range, enabled: isDrawn });
  const total = useHistogram({ sessionId, filter: "", buckets, range, enabled: isDrawn && filter !== "" });
  // The bars give the count only if they show the whole view.
  const isPart = span !== undefined || zoom !== undefined || !isOpen;
  const part = useHistogram({ sessionId, filter, buckets: 1, range: span, enabled: isPart });
  const counted = isPart ? part.counts : main.counts;
  const { counts } = useSessionStream();
  useEffect(() => counted && counts.count(counted), [counts, counted]);
  const { selected: count, types } = useLive();
  const sums = useMemo(() => types && sumByKind(types), [types]);

  const all = (filter === "" ? undefined : total.bars) ?? main.bars;
  const known = useMemo(() => wholeOf(session), [session]);
  const whole = zoom === undefined ? (all?.range ?? known) : known;
  const shown = zoom ?? whole;
  const times = `${clock(shown.from, 1e6, zone)} – ${clock(shown.to, 1e6, zone)}, ${formatDuration(shown.to - shown.from)}`;
  return (
    <>
      <div ref={head} className="flex h-6 items-center gap-2">
        <Button
          look="ghost"
          size="smallIcon"
          className="-ml-1.5 size-6! text-muted"
          aria-expanded={isOpen}
          aria-label="Timeline"
          title={`${isOpen ? "Hide" : "Show"} the timeline (T)`}
          onClick={onToggle}
        >
          {isOpen ? <ChevronDown size={15} /> : <ChevronRight size={15} />}
        </Button>
        <Legend session={session} sums={sums} />
        <div className="flex-1" />
        {span && isOpen && (
          <Button look="ghost" size="small" className="h-6! shrink-0" onClick={() => setZoom(span)}>
            <ZoomIn size={13} aria-hidden /> <span className="max-sm:sr-only">Zoom to the span</span>
          </Button>
        )}
        {zoom && isOpen && (
          <Button look="ghost" size="small" className="h-6! shrink-0" onClick={() => setZoom(undefined)}>
            <Maximize2 size={13} aria-hidden /> <span className="max-sm:sr-only">Whole session</span>
          </Button>
        )}
        <p className="shrink-0 text-xs text-muted tabular-nums max-md:hidden">
          {(!zoom || span) && count !== undefined && (
            <span className="text-ink">{plural(count, "event")}</span>
          )}
          {zoom ? ` Zoomed to ${times}` : !span && ` ${times}`}
        </p>
      </div>
      {isOpen && (
        <div className="pt-0.5" style={{ minHeight: plotHeight + 2 }}>
          {main.error && !main.bars ? (
            <p role="alert" className="py-4 text-xs text-bad">
              The timeline cannot be drawn: {messageOf(main.error)}
            </p>
          ) : (
            all && (
              <Plot
                width={width}
                shown={shown}
                whole={whole}
                span={span}
                bars={main.bars}
                total={filter === "" ? undefined : total.bars}
                losses={losses}
                findings={findings}
                count={count}
                onSpan={(next, options) => change({ span: next && spanOfRange(next) }, options)}
                onZoom={setZoom}
              />
            )
          )}
        </div>
      )}
    </>
  );
}

function wholeOf({ first_event_at, last_event_at }: SessionDetail): Range {
  return { from: toMicros(first_event_at ?? ""), to: toMicros(last_event_at ?? "") };
}

/** The current width of an element, in pixels. */
function useWidth(element: React.RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

/** The value, once it has not changed for a moment; undefined without delay. */
function useResting<T>(value: T | undefined): T | undefined {
  const [resting, setResting] = useState(value);
  useEffect(() => {
    if (value === undefined) {
      setResting(undefined);
      return;
    }
    const timer = setTimeout(() => setResting(value), 120);
    return () => clearTimeout(timer);
  }, [value]);
  return resting;
}
