import type { SessionDetail } from "@/api/client";
import { useView } from "@/hooks/view";
import { typeClause, withTypes } from "@/lib/filter-language";
import { groupBy } from "@/lib/group";
import { type Kind, kindOf, kinds, typesOf } from "@/lib/kind";
import { formatCount, formatShort } from "@/lib/number";
import { stackOrder } from "./bars";

/** The class that fills a square with the color of a kind. */
export const swatch: Record<Kind, string> = {
  file: "bg-file",
  process: "bg-process",
  http: "bg-http",
  network: "bg-network",
  packet: "bg-packet",
  monitor: "bg-monitor",
  other: "bg-other",
  loss: "bg-loss",
};

export const kindLabel = (kind: Kind) => (kind === "loss" ? "Loss reports" : kinds[kind].label);

/** The kinds of the session's events, with their counts in the view. A click selects a kind alone, or adds it. */
export function Legend({ session, sums }: { session: SessionDetail; sums: readonly number[] | undefined }) {
  const { view, change } = useView();
  const present = groupBy(Object.entries(session.event_counts), ([type]) => kindOf(type).kind);
  const chosen = typeClause(view.filter)?.types;
  return (
    <div
      role="group"
      aria-label="Kinds of events"
      className="flex min-w-0 gap-0.5 overflow-x-auto [scrollbar-width:none]"
    >
      {stackOrder
        .filter((kind) => present.has(kind))
        .map((kind) => {
          const stored = (present.get(kind) ?? []).map(([type]) => type);
          const types = [...new Set([...typesOf(kind), ...stored])];
          const isChosen = stored.some((type) => chosen?.includes(type));
          const toggle = () => {
            const others = (chosen ?? []).filter((type) => !types.includes(type));
            change(
              { filter: withTypes(view.filter, isChosen ? others : [...others, ...types]) },
              { push: true },
            );
          };
          const shown = sums?.[stackOrder.indexOf(kind)];
          // The counts of the session may be older than those of the view.
          const total = Math.max(
            shown ?? 0,
            (present.get(kind) ?? []).reduce((sum, [, count]) => sum + count, 0),
          );
          return (
            <button
              key={kind}
              type="button"
              aria-pressed={isChosen}
              onClick={toggle}
              title={`${shown === undefined ? "" : `${formatCount(shown)} shown of `}${formatCount(total)} in the session. ${isChosen ? "Click to remove them from the filter" : chosen ? "Click to show them too" : "Click to show only them"}.`}
              className={`flex h-6 shrink-0 items-center gap-1.5 rounded px-1.5 text-xs hover:bg-hover ${isChosen ? "bg-selected font-medium" : chosen ? "text-muted" : ""}`}
            >
              <span
                aria-hidden
                className={`size-2 rounded-xs ${swatch[kind]} ${chosen && !isChosen ? "opacity-40" : ""}`}
              />
              {kindLabel(kind)}
              <span className="text-muted tabular-nums">{formatShort(shown ?? total)}</span>
            </button>
          );
        })}
    </div>
  );
}
