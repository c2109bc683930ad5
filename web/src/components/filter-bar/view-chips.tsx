import { Clock, GitBranch, X } from "lucide-react";
import type { ReactNode } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { useSettings } from "@/hooks/settings";
import { plainText } from "@/lib/text";
import { formatClock, formatDuration, toMicros } from "@/lib/time";
import type { View } from "@/lib/view";

/** The process and the span that select the view's events, each with a button to remove it. */
export function ViewChips({ view, onChange }: { view: View; onChange: (change: Partial<View>) => void }) {
  const { zone } = useSettings();
  const { process, span } = view;
  if (!process && !span) return null;
  const duration = span ? toMicros(span.to) - toMicros(span.from) : 0;
  return (
    <div className="flex min-w-0 flex-wrap items-center gap-1">
      {process && (
        <Chip
          icon={<GitBranch size={13} aria-hidden />}
          label={`Show all processes again, not only ${plainText(process.name, 60) || process.pid}`}
          onClear={() => onChange({ process: undefined })}
        >
          {process.name && <SafeText text={process.name} limit={60} className="truncate" />}
          <span className="text-muted tabular-nums">{process.pid}</span>
          {process.id !== undefined && (
            <button
              type="button"
              aria-pressed={!process.alone}
              title="Whether to select the events of its descendants too"
              onClick={() => onChange({ process: { ...process, alone: process.alone ? undefined : true } })}
              className={`h-full px-1 hover:bg-hover ${process.alone ? "text-muted line-through" : "text-accent"}`}
            >
              with descendants
            </button>
          )}
        </Chip>
      )}
      {span && (
        <Chip
          icon={<Clock size={13} aria-hidden />}
          label="Show the whole time again"
          onClear={() => onChange({ span: undefined })}
        >
          <span className="truncate tabular-nums">
            {shortClock(span.from, duration, zone)} – {shortClock(span.to, duration, zone)}
          </span>
          <span className="text-muted max-sm:hidden">{formatDuration(duration)}</span>
        </Chip>
      )}
      <Button
        look="ghost"
        size="small"
        className="text-muted"
        onClick={() => onChange({ filter: "", process: undefined, span: undefined })}
      >
        Clear all
      </Button>
    </div>
  );
}

/** The time of day, with as many decimals of a second as a span of this length needs, in microseconds. */
function shortClock(time: string, duration: number, zone: "local" | "utc"): string {
  return formatClock(time, zone).slice(0, duration > 10e6 ? -7 : duration > 10e3 ? -3 : undefined);
}

interface ChipProps {
  icon: ReactNode;
  label: string;
  onClear: () => void;
  children: ReactNode;
}

function Chip({ icon, label, onClear, children }: ChipProps) {
  return (
    <span className="flex h-7 min-w-0 items-center gap-1.5 rounded-md border border-line bg-selected pl-2 text-xs">
      {icon}
      {children}
      <button
        type="button"
        aria-label={label}
        title={label}
        onClick={onClear}
        className="grid h-full w-6 shrink-0 place-items-center rounded-r-md text-muted hover:bg-hover hover:text-ink"
      >
        <X size={13} />
      </button>
    </span>
  );
}
