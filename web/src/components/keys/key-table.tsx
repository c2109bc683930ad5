import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { useNow } from "@/hooks/now";
import { useSettings } from "@/hooks/settings";
import { formatAgo, formatDateTime } from "@/lib/time";

export type Key = components["schemas"]["APIKey"];

/** The state of a key, as the table shows it. */
function stateOf(key: Key, now: number): "valid" | "expired" | "revoked" {
  if (key.revoked_at !== null) return "revoked";
  return key.expires_at !== null && Date.parse(key.expires_at) <= now ? "expired" : "valid";
}

const head = "px-3 py-2 text-left text-2xs font-semibold tracking-wide text-muted uppercase";
const cell = "px-3 py-2 align-top";
/** The columns that a telephone has no room for. */
const onDesk = ["Key", "Last used", "Created"];

/** All keys, newest first. */
export function KeyTable({
  keys,
  own,
  onRevoke,
}: {
  keys: readonly Key[];
  own: string;
  onRevoke: (key: Key) => void;
}) {
  const now = useNow(60_000);
  const { zone } = useSettings();
  return (
    <div className="min-h-0 flex-1 overflow-auto">
      <table className="w-full border-collapse text-sm sm:min-w-2xl">
        <thead className="sticky top-0 bg-page">
          <tr className="border-b border-line">
            {["Name", "Role", "Key", "Last used", "Created", "State"].map((name) => (
              <th
                key={name}
                scope="col"
                className={`${head} ${onDesk.includes(name) ? "max-sm:hidden" : ""}`}
              >
                {name}
              </th>
            ))}
            <th scope="col" className={head}>
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => {
            const state = stateOf(key, now);
            return (
              <tr key={key.id} className="border-b border-line">
                <td className={cell}>
                  <SafeText text={key.name} limit={200} className="font-medium break-words" />
                  {key.id === own && <span className="ml-2 text-muted">you</span>}
                </td>
                <td className={cell}>
                  {key.role}
                  {key.role === "agent" && (
                    <span className="block text-muted">
                      for <SafeText text={key.agent_name} limit={100} />
                    </span>
                  )}
                </td>
                <td className={`${cell} max-sm:hidden font-mono text-muted`}>{key.prefix}…</td>
                <td className={`${cell} max-sm:hidden`}>
                  {key.last_used_at ? formatAgo(key.last_used_at, zone, now) : "never"}
                </td>
                <td className={`${cell} max-sm:hidden`}>
                  {formatDateTime(key.created_at, zone).slice(0, 16)}
                  {key.created_by !== "" && (
                    <span className="block text-muted">
                      by <SafeText text={key.created_by} limit={100} />
                    </span>
                  )}
                </td>
                <td className={cell}>
                  <span className={state === "valid" ? "text-good" : "text-muted"}>{state}</span>
                  {state === "valid" && key.expires_at && (
                    <span className="block text-muted">
                      until {formatDateTime(key.expires_at, zone).slice(0, 16)}
                    </span>
                  )}
                </td>
                <td className={`${cell} text-right`}>
                  {state === "valid" && (
                    <Button
                      size="small"
                      onClick={() => onRevoke(key)}
                      aria-label={`Revoke the key of ${key.name}`}
                    >
                      Revoke
                    </Button>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
