import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { useView } from "@/hooks/view";
import { and } from "@/lib/filter";
import { endText } from "./conversation-table";

/** The sockets that wait for others. Each is a button that selects its calls. */
export function Listeners({ listeners }: { listeners: readonly components["schemas"]["Listener"][] }) {
  const { view, change } = useView();
  return (
    <section
      aria-label="Listening"
      className="flex max-h-24 items-center gap-x-3 gap-y-1 overflow-auto whitespace-nowrap border-b md:flex-wrap border-line px-3 py-1 text-xs"
    >
      <h2 className="font-medium text-muted">Listening</h2>
      {listeners.map((each) => (
        <button
          key={`${each.first_seq} ${each.filter}`}
          type="button"
          title="Include only the calls on this socket"
          onClick={() => change({ filter: and(view.filter, each.filter) })}
          className="inline-flex min-h-6 items-center gap-1.5 rounded hover:underline"
        >
          <span className="font-medium">
            <SafeText text={each.protocol} limit={30} />
          </span>
          <span className="font-mono">
            <SafeText text={endText(each.local)} limit={200} />
          </span>
          {each.pid !== null && (
            <span className="text-muted">
              <SafeText text={each.process_name} limit={60} /> {each.pid}
            </span>
          )}
        </button>
      ))}
    </section>
  );
}
