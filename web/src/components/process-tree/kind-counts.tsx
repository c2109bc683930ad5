import { type Kind, kindOf, kinds } from "@/lib/kind";
import { formatCount, formatShort } from "@/lib/number";

/** The counts of events by kind, in the colors of the kinds. */
export function KindCounts({ counts }: { counts: Record<string, number> }) {
  const byKind = new Map<Kind, number>();
  for (const [type, count] of Object.entries(counts)) {
    const { kind } = kindOf(type);
    byKind.set(kind, (byKind.get(kind) ?? 0) + count);
  }
  return (
    <span className="flex gap-2 overflow-hidden text-xs tabular-nums">
      {Object.values(kinds).map(({ kind, label, letter, text }) => {
        const count = byKind.get(kind);
        return (
          count !== undefined && (
            <span
              key={kind}
              className={`${text} whitespace-nowrap`}
              title={`${label}: ${formatCount(count)}`}
            >
              <span aria-hidden>{letter}</span>
              <span className="sr-only">{label} </span>
              {formatShort(count)}
            </span>
          )
        );
      })}
    </span>
  );
}
