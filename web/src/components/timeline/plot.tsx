import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { signOf } from "@/components/findings/mark";
import type { PlacedMark } from "@/hooks/findings";
import { useSettings } from "@/hooks/settings";
import { plural } from "@/lib/number";
import { formatDuration } from "@/lib/time";
import type { Bars, Range } from "./bars";
import { clock } from "./clock";
import { axisHeight, plotHeight } from "./draw";
import type { LossMark } from "./losses";
import { PlotCanvas } from "./plot-canvas";
import { spanByKey, zoomRange } from "./range";
import { Readout } from "./readout";
import { useBrush } from "./use-brush";

interface Props {
  width: number;
  shown: Range;
  whole: Range;
  span: Range | undefined;
  bars: Bars | undefined;
  total: Bars | undefined;
  losses: readonly LossMark[];
  findings: readonly PlacedMark[];
  /** The number of the view's events, within the span if there is one. */
  count: number | undefined;
  onSpan: (span: Range | undefined, options?: { push: boolean }) => void;
  onZoom: (range: Range | undefined) => void;
}

const keyMillis = 200;

/** The bars, with the span over them. Pointer, wheel and keys change the span and the zoom. */
export function Plot(props: Props) {
  const { width, shown, whole, span, bars, total, losses, findings, count, onSpan, onZoom } = props;
  const plot = useRef<HTMLDivElement>(null);
  const { zone } = useSettings();
  const [keyed, setKeyed] = useState<Range>();
  const brush = useBrush({
    plot,
    shown,
    whole,
    span,
    onSpan: (next) => onSpan(next, { push: true }),
    onZoom,
  });
  const drawn = brush.draft ?? keyed ?? span;

  const commit = useRef(onSpan);
  useEffect(() => {
    commit.current = onSpan;
  });
  // Repeated keys change the view once, when they stop.
  useEffect(() => {
    if (!keyed) return;
    const timer = setTimeout(() => {
      commit.current(keyed);
      setKeyed(undefined);
    }, keyMillis);
    return () => clearTimeout(timer);
  }, [keyed]);

  const press = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = drawn ? (drawn.from + drawn.to) / 2 : (shown.from + shown.to) / 2;
    const next = spanByKey(event.key, event.shiftKey, drawn, shown);
    if (next) setKeyed(next);
    else if (event.key === "Escape") {
      setKeyed(undefined);
      if (drawn) onSpan(undefined);
      else onZoom(undefined);
    } else if (event.key === "+" || event.key === "=") onZoom(zoomRange(shown, middle, 0.7, whole));
    else if (event.key === "-") onZoom(zoomRange(shown, middle, 1 / 0.7, whole));
    else if (event.key === "0") onZoom(undefined);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const x = (micros: number) => ((micros - shown.from) / Math.max(1, shown.to - shown.from)) * width;
  const { pointer } = brush;
  const reach = ((shown.to - shown.from) / Math.max(1, width)) * 4;
  const atPointer = pointer
    ? losses.filter((loss) => loss.from - reach <= pointer.at && pointer.at <= loss.to + reach)
    : [];
  const found = pointer ? textsOf(findings, pointer.at - reach, pointer.at + reach) : [];
  const range = drawn ?? shown;
  const foundInside = textsOf(findings, range.from, range.to);
  const text = `${clock(range.from, 1e5, zone)} to ${clock(range.to, 1e5, zone)}, ${formatDuration(range.to - range.from)}${count === undefined || keyed || brush.draft ? "" : `, ${plural(count, "event")}`}${losses.length > 0 ? `. Events were lost in ${plural(losses.length, "place")}` : ""}${foundInside.length > 0 ? `. Findings, ${foundInside.join("; ")}` : ""}`;
  return (
    <div className="relative" style={{ width, height: plotHeight }}>
      <div
        ref={plot}
        role="slider"
        tabIndex={0}
        aria-label="Span of time"
        aria-valuemin={0}
        aria-valuemax={1000}
        aria-valuenow={
          drawn
            ? Math.round(
                Math.min(1000, Math.max(0, (x((drawn.from + drawn.to) / 2) / Math.max(1, width)) * 1000)),
              )
            : 0
        }
        aria-valuetext={drawn ? text : `Everything, ${text}`}
        title=""
        className={`relative h-full touch-pan-y overflow-hidden rounded-xs select-none ${pointer?.isAtEdge ? "cursor-ew-resize" : "cursor-crosshair"}`}
        onKeyDown={press}
        {...brush.handlers}
      >
        <PlotCanvas width={width} range={shown} bars={bars} total={total} losses={losses} />
        <FindingMarks findings={findings} x={x} width={width} />
        {drawn && <SpanOverlay from={x(drawn.from)} to={x(drawn.to)} width={width} />}
        {pointer && (
          <div
            className="pointer-events-none absolute top-0 w-px bg-muted"
            style={{ left: pointer.x, height: plotHeight - axisHeight }}
          />
        )}
      </div>
      {pointer && (
        <Readout
          at={pointer.at}
          x={pointer.x}
          width={width}
          bars={bars}
          total={total}
          losses={atPointer}
          findings={found}
        />
      )}
    </div>
  );
}

const mostNamed = 5;

/** What the findings in a range of time are, each once, without those after the first few. */
function textsOf(findings: readonly PlacedMark[], from: number, to: number): string[] {
  const inside = findings.filter(({ at }) => from <= at && at <= to);
  const texts = [...new Set(inside.flatMap(({ text }) => text.split("; ")))];
  const others = texts.length - mostNamed;
  return others > 0 ? [...texts.slice(0, mostNamed), `and ${plural(others, "other")}`] : texts;
}

const markWidth = 9;

/** The signs of findings at their times, the highest level where several are close. */
function FindingMarks(props: { findings: readonly PlacedMark[]; x: (at: number) => number; width: number }) {
  const places = new Map<number, PlacedMark>();
  for (const finding of props.findings) {
    const place = Math.floor(props.x(finding.at) / markWidth);
    const first = places.get(place);
    if (!first || levels.indexOf(finding.level) > levels.indexOf(first.level)) places.set(place, finding);
  }
  return (
    <div aria-hidden className="pointer-events-none absolute inset-x-0 top-0">
      {[...places].map(([place, { level }]) => {
        const left = place * markWidth;
        if (left < 0 || left > props.width) return null;
        const { sign, ink } = signOf(level);
        return (
          <span
            key={place}
            className={`absolute top-0 rounded-xs bg-surface/80 text-center text-2xs leading-3 ${ink}`}
            style={{ left, width: markWidth }}
          >
            {sign}
          </span>
        );
      })}
    </div>
  );
}

const levels: readonly PlacedMark["level"][] = ["informational", "low", "medium", "high", "critical"];

/** Dims the plot outside of the span, and shows that its edges can be dragged. */
function SpanOverlay({ from, to, width }: { from: number; to: number; width: number }) {
  const left = Math.min(Math.max(from, 0), width);
  const right = Math.min(Math.max(to, left), width);
  const tall = plotHeight - axisHeight;
  const edge = "pointer-events-none absolute top-0 w-px bg-accent";
  const grip =
    "absolute top-1/2 left-1/2 h-4 w-1.5 -translate-x-1/2 -translate-y-1/2 rounded-full border border-surface bg-accent";
  return (
    <>
      <div
        className="pointer-events-none absolute top-0 left-0 bg-surface/70"
        style={{ width: left, height: tall }}
      />
      <div
        className="pointer-events-none absolute top-0 right-0 bg-surface/70"
        style={{ width: width - right, height: tall }}
      />
      <div
        className="pointer-events-none absolute top-0 min-w-0.5 border-accent border-t-2 bg-accent/8"
        style={{ left, width: right - left, height: tall }}
      />
      {from >= 0 && from <= width && (
        <div className={edge} style={{ left, height: tall }}>
          <div className={grip} />
        </div>
      )}
      {to >= 0 && to <= width && (
        <div className={edge} style={{ left: right - 1, height: tall }}>
          <div className={grip} />
        </div>
      )}
    </>
  );
}
