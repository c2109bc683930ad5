import { useQuery } from "@tanstack/react-query";
import { api, call, type ProcessRow } from "@/api/client";
import { keys } from "@/api/queries";
import { and } from "@/lib/filter";
import { toMicros } from "@/lib/time";
import { processFilter } from "@/lib/view";
import { countOf, selectionOf } from "./rows";

const buckets = 48;
const height = 18;

interface Props {
  sessionId: string;
  node: ProcessRow;
  /** The filter of the tree. */
  filter: string;
  /** The time range of the whole session. */
  from: string;
  to: string;
  live: boolean;
}

/** The activity of a process over the session's time: its lifetime as a line, its selected events as bars. */
export function Activity({ sessionId, node, filter: selected, from, to, live }: Props) {
  const filter = and(selected, processFilter({ ...selectionOf(node), alone: true }));
  const count = countOf(node, selected !== "");
  const histogram = useQuery({
    // In a live session the end of the range keeps moving; refetch only when the count changes.
    queryKey: keys.of(sessionId, "activity", node.id, selected, count, live ? "" : to),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/histogram", {
          params: { path: { sessionId }, query: { buckets, from, to, filter } },
          signal,
        }),
      ),
    enabled: count > 0,
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: (old) => old,
  });
  const bars =
    histogram.data?.buckets.map((bucket) => Object.values(bucket.counts).reduce((sum, n) => sum + n, 0)) ??
    [];
  const most = Math.max(1, ...bars);
  const [start, length] = [toMicros(from), Math.max(1, toMicros(to) - toMicros(from))];
  const x = (time: string) => Math.min(100, Math.max(0, ((toMicros(time) - start) / length) * 100));
  const [first, last] = [x(node.first_seen), x(node.last_seen)];
  return (
    <svg
      viewBox={`0 0 100 ${height}`}
      preserveAspectRatio="none"
      className="h-[18px] w-full text-process"
      aria-hidden
    >
      <rect
        x={first}
        y={height - 2}
        width={Math.max(0.6, last - first)}
        height={2}
        className="fill-line-strong"
      />
      {bars.map((count, index) =>
        count === 0 ? null : (
          <rect
            key={index}
            x={(index * 100) / bars.length}
            // The square root, because a burst of thousands would flatten all other bars.
            y={(height - 3) * (1 - Math.sqrt(count / most))}
            width={(100 / bars.length) * 0.8}
            height={Math.max(1, (height - 3) * Math.sqrt(count / most))}
            fill="currentColor"
          />
        ),
      )}
    </svg>
  );
}
