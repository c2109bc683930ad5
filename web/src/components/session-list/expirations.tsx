import { Hourglass } from "lucide-react";
import type { Expiration } from "@/api/client";
import { useExpirations } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Panel } from "@/components/ui/panel";
import { useSettings } from "@/hooks/settings";
import { expiredEvents, ruleText } from "@/lib/expiration";
import { plural } from "@/lib/number";
import { formatDateTime } from "@/lib/time";

/** Says what retention removed, if it removed anything; a click lists it. */
export function Expirations() {
  const { zone } = useSettings();
  const { data } = useExpirations();
  const newest = data?.expirations[0];
  if (!data || !newest) return null;
  const text = data.since
    ? `${plural(data.sessions, "session")} expired since ${formatDateTime(data.since, zone)}`
    : "Events of unassigned expired";
  return (
    <footer className="border-t border-line bg-surface px-4 py-1 text-xs text-muted">
      <Panel
        label="Expired"
        className="w-[36rem] p-3"
        trigger={
          <button
            type="button"
            className="inline-flex items-center gap-1.5 rounded px-1 py-0.5 text-left hover:bg-hover"
          >
            <Hourglass size={13} className="shrink-0" aria-hidden />
            {text}, by {ruleText(newest)}
          </button>
        }
      >
        <h2 className="font-medium">Removed, newest first</h2>
        <ul className="mt-1 flex flex-col gap-1.5 text-xs">
          {data.expirations.map((record) => (
            <Item key={record.id} record={record} />
          ))}
        </ul>
        {data.has_more && <p className="mt-2 text-xs text-muted">The API lists older ones.</p>}
      </Panel>
    </footer>
  );
}

function Item({ record }: { record: Expiration }) {
  const { zone } = useSettings();
  return (
    <li>
      <SafeText
        text={record.name || record.file_name || record.session_id}
        limit={120}
        className="font-medium break-all"
      />
      {record.whole ? " with " : ": "}
      {expiredEvents(record)}
      <span className="block text-muted">
        {formatDateTime(record.expired_at, zone)}, by {ruleText(record)}
      </span>
    </li>
  );
}
