import { useQuery } from "@tanstack/react-query";
import { ArrowDown, ArrowRight, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import { type EventText, neighbour, useEventCount } from "@/api/event";
import { type Actor, processOf } from "@/api/process-tree";
import { keys } from "@/api/queries";
import { around } from "@/components/event-table/value-menu";
import { SafeText } from "@/components/safe-text";
import { useView } from "@/hooks/view";
import { and, condition } from "@/lib/filter";
import { typeLabel } from "@/lib/kind";
import { formatCount } from "@/lib/number";
import { formatDuration, toMicros } from "@/lib/time";
import { processFilter, type View, viewFilter } from "@/lib/view";

interface Related {
  label: ReactNode;
  /** Undefined while it is unknown which process it is. */
  view: View | undefined;
}

/** Events related to an event: by its process, its target and its time. */
export function RelatedTab({ sessionId, event }: { sessionId: string; event: EventText }) {
  const { fields } = event;
  const { pid, target } = fields;
  const name = fields.process_name ?? "";
  const span = around(fields.timestamp);
  const sameTarget = target === null ? undefined : condition("target", target);
  const process = useProcessOf(sessionId, fields);
  const ofProcess = process && processFilter(process);
  const related: Related[] = [];
  if (pid !== null) {
    related.push({
      label: (
        <>
          Same process, <SafeText text={name || "unnamed"} limit={60} /> {pid}
        </>
      ),
      view: process && { filter: "", process },
    });
  }
  if (sameTarget) related.push({ label: "Same target", view: { filter: sameTarget } });
  if (sameTarget && pid !== null)
    related.push({
      label: "Same target, same process",
      view: process && { filter: sameTarget, process },
    });
  related.push({ label: "1 s before and after", view: { filter: "", span } });
  if (pid !== null)
    related.push({
      label: "1 s before and after, same process",
      view: process && { filter: "", span, process },
    });
  related.push({
    label: (
      <>
        Same type, <SafeText text={typeLabel(fields.event_type)} limit={60} />
      </>
    ),
    view: {
      filter: and(
        condition("type", fields.event_type),
        fields.operation !== null && fields.operation.length < 200
          ? condition("operation", fields.operation)
          : undefined,
      ),
    },
  });
  return (
    <div className="min-h-0 flex-1 overflow-y-auto p-3">
      {ofProcess && (
        <section className="mb-3">
          <Title>Same process</Title>
          <Neighbour sessionId={sessionId} event={event} by={-1} filter={ofProcess} />
          <Neighbour sessionId={sessionId} event={event} by={1} filter={ofProcess} />
        </section>
      )}
      <Title>Show in the views</Title>
      <ul>
        {related.map((entry, index) => (
          <li key={index}>
            <RelatedButton sessionId={sessionId} {...entry} />
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The selection of the event's process; undefined while it loads. If it cannot be loaded, all processes of its pid. */
function useProcessOf(sessionId: string, { seq, pid, process_name }: Actor): View["process"] {
  const { data, isError } = useQuery({
    queryKey: keys.of(sessionId, "process-of", seq),
    queryFn: () => processOf(sessionId, { seq, pid, process_name }),
    enabled: pid !== null,
  });
  return isError && pid !== null ? { pid, name: process_name ?? "" } : data;
}

function Title({ children }: { children: ReactNode }) {
  return <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">{children}</h3>;
}

const line =
  "flex w-full items-center gap-2 rounded border-b border-line/60 px-1 py-1.5 text-left hover:bg-hover disabled:text-muted";

function RelatedButton({ sessionId, label, view }: Related & { sessionId: string }) {
  const { change } = useView();
  const count = useEventCount(sessionId, view && viewFilter(view));
  return (
    <button
      type="button"
      className={line}
      disabled={!view}
      onClick={() =>
        view && change({ filter: view.filter, span: view.span, process: view.process }, { push: true })
      }
    >
      <ArrowRight size={14} className="shrink-0 text-muted" aria-hidden />
      <span className="min-w-0 flex-1 truncate">{label}</span>
      <span className="text-xs text-muted tabular-nums">
        {count.data !== undefined ? formatCount(count.data) : count.isError ? "?" : "…"}
      </span>
    </button>
  );
}

interface NeighbourProps {
  sessionId: string;
  event: EventText;
  by: -1 | 1;
  filter: string;
}

function Neighbour({ sessionId, event, by, filter }: NeighbourProps) {
  const { change } = useView();
  const { seq, timestamp } = event.fields;
  const { data, isPending } = useQuery({
    queryKey: keys.of(sessionId, "neighbour", seq, by, filter),
    queryFn: async () => (await neighbour(sessionId, seq, by, filter)) ?? null,
  });
  const Icon = by < 0 ? ArrowUp : ArrowDown;
  return (
    <button type="button" className={line} disabled={!data} onClick={() => data && change({ seq: data.seq })}>
      <Icon size={14} className="shrink-0 text-muted" aria-hidden />
      <span className="sr-only">{by < 0 ? "Previous: " : "Next: "}</span>
      <span className="min-w-0 flex-1 truncate">
        {data ? (
          <>
            <SafeText text={data.operation ?? typeLabel(data.event_type)} limit={60} />{" "}
            <span className="font-mono text-xs">
              <SafeText text={data.target ?? ""} limit={200} />
            </span>
          </>
        ) : isPending ? (
          "…"
        ) : by < 0 ? (
          "No earlier event"
        ) : (
          "No later event"
        )}
      </span>
      {data && (
        <span className="text-xs text-muted tabular-nums">
          {formatDuration(toMicros(data.timestamp) - toMicros(timestamp))}
        </span>
      )}
    </button>
  );
}
