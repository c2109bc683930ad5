import { SafeText } from "@/components/safe-text";
import { useSettings } from "@/hooks/settings";
import { formatCount, plural } from "@/lib/number";
import { formatDuration } from "@/lib/time";
import { type Bars, bucketAt, stackOrder } from "./bars";
import { clock } from "./clock";
import { plotHeight } from "./draw";
import { kindLabel, swatch } from "./legend";
import type { LossMark } from "./losses";

interface Props {
  at: number;
  /** The x position of the time in the plot, and the width of the plot, in pixels. */
  x: number;
  width: number;
  bars: Bars | undefined;
  total: Bars | undefined;
  losses: readonly LossMark[];
  /** What the findings near the time are. */
  findings: readonly string[];
}

/** The time under the pointer, and the counts of each kind there. */
export function Readout({ at, x, width, bars, total, losses, findings }: Props) {
  const { zone } = useSettings();
  const all = total ?? bars;
  if (!all) return null;
  const row = bars?.counts[bucketAt(bars, at)] ?? [];
  const bucket = bucketAt(all, at);
  const start = all.starts[bucket] ?? at;
  const [shown, of] = [row.reduce((sum, count) => sum + count, 0), all.totals[bucket] ?? 0];
  const side = x > width / 2 ? { right: width - x + 12 } : { left: x + 12 };
  return (
    <div
      aria-hidden
      className="pointer-events-none absolute z-30 min-w-40 max-w-72 rounded-md border border-line bg-raised px-2 py-1.5 text-xs shadow-lg"
      style={{ top: plotHeight + 2, ...side }}
    >
      <p className="flex justify-between gap-4 tabular-nums">
        <span className="font-medium">{clock(start, Math.min(all.width / 10, 1e5), zone)}</span>
        <span className="text-muted">+{formatDuration(all.width)}</span>
      </p>
      {shown === 0 && <p className="text-muted">{of === 0 ? "No events" : "None that the filter selects"}</p>}
      {stackOrder.map(
        (kind, place) =>
          (row[place] ?? 0) > 0 && (
            <p key={kind} className="flex items-center gap-1.5">
              <span className={`size-2 rounded-xs ${swatch[kind]}`} />
              <span className="flex-1">{kindLabel(kind)}</span>
              <span className="tabular-nums">{formatCount(row[place] ?? 0)}</span>
            </p>
          ),
      )}
      {total && of > shown && (
        <p className="text-muted tabular-nums">
          {formatCount(shown)} of {plural(of, "event")}
        </p>
      )}
      {findings.map((text) => (
        <p key={text} className="mt-1 border-t border-line pt-1 font-medium">
          {text}
        </p>
      ))}
      {losses.map((loss) => (
        <p key={loss.seq} className="mt-1 border-t border-line pt-1 text-bad">
          {plural(loss.count, "event")} lost, {clock(loss.from, 1e5, zone)} – {clock(loss.to, 1e5, zone)}
          {loss.reason && (
            <>
              {": "}
              <SafeText text={loss.reason} limit={100} />
            </>
          )}
        </p>
      ))}
    </div>
  );
}
