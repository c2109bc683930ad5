import { Link } from "wouter";
import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { useSettings } from "@/hooks/settings";
import { formatDateTime } from "@/lib/time";

export type AuditEntry = components["schemas"]["AuditEntry"];

/** What an action is called, by the operationId of the request. */
export const actions: Record<string, string> = {
  addAgent: "Add an agent",
  enrollAgent: "Enroll an agent",
  createSession: "Upload a file",
  copySession: "Copy a session",
  startMonitor: "Start a session",
  stopMonitor: "Stop a session",
  updateSession: "Change a session",
  deleteSession: "Delete a session",
  deleteEvents: "Remove events",
  importSession: "Import a session",
  exportSession: "Export a session",
  exportAllEvents: "Export events",
  downloadSessionFile: "Download a file",
  createRule: "Create a rule",
  replaceRule: "Change a rule",
  deleteRule: "Delete a rule",
  enableRule: "Turn a rule on or off",
  createKey: "Create a key",
  revokeKey: "Revoke a key",
  setUp: "Create the first key",
  signIn: "Sign in",
  signInAtProvider: "Sign in at the provider",
  endSignIns: "End sign-ins",
  signOut: "Sign out",
};

const head = "px-3 py-2 text-left text-2xs font-semibold tracking-wide text-muted uppercase";
const cell = "px-3 py-1.5 align-top";

/** What actors did, newest first. */
export function AuditTable({ entries }: { entries: readonly AuditEntry[] }) {
  const { zone } = useSettings();
  return (
    <table className="w-full border-collapse text-sm sm:min-w-3xl">
      <thead className="sticky top-0 bg-page">
        <tr className="border-b border-line">
          {["Time", "Who", "Action", "What", "Result"].map((name) => (
            <th key={name} scope="col" className={`${head} ${name === "What" ? "max-sm:hidden" : ""}`}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {entries.map((entry) => (
          <tr key={entry.id} className="border-b border-line">
            <td className={`${cell} font-mono`}>
              <Time at={formatDateTime(entry.at, zone)} />
            </td>
            <td className={cell}>
              <SafeText
                text={entry.actor || "without a key"}
                limit={100}
                className="font-medium break-words"
              />
              <span className="block font-mono text-xs text-muted">{entry.address}</span>
            </td>
            <td className={cell}>
              {actions[entry.action] ?? entry.action}
              <div className="sm:hidden">
                <Subject entry={entry} />
              </div>
            </td>
            <td className={`${cell} max-sm:hidden`}>
              <Subject entry={entry} />
            </td>
            <td className={cell}>
              <Result entry={entry} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** How an action ended, if it has. */
export function Result({ entry }: { entry: Pick<AuditEntry, "state" | "code"> }) {
  if (entry.state === "not finished")
    return (
      <>
        not finished
        <span className="block text-xs text-muted">
          It still runs, or the backend ended during it. It may have had its effect.
        </span>
      </>
    );
  if (entry.code !== "") return <span className="text-bad">{entry.code.replaceAll("_", " ")}</span>;
  return <span className="text-good">done</span>;
}

/** A date and a time of day, below each other on a telephone. */
function Time({ at }: { at: string }) {
  return (
    <>
      <span className="whitespace-nowrap">{at.slice(0, 10)}</span>{" "}
      <span className="whitespace-nowrap">{at.slice(11, 19)}</span>
    </>
  );
}

/** What the action concerned, and what changed. */
function Subject({ entry }: { entry: AuditEntry }) {
  const changes = changesOf(entry);
  return (
    <>
      {entry.session_id !== "" && (
        <Link
          href={`/sessions/${encodeURIComponent(entry.session_id)}`}
          className="block font-mono text-xs wrap-anywhere text-accent underline"
        >
          <SafeText text={entry.session_id} limit={60} />
        </Link>
      )}
      {entry.target !== "" && (
        <SafeText text={entry.target} limit={100} className="block font-mono text-xs wrap-anywhere" />
      )}
      {changes.map((change) => (
        <SafeText key={change} text={change} limit={300} className="block text-xs wrap-anywhere text-muted" />
      ))}
    </>
  );
}

/** The changed members, each as "name: before → after". */
export function changesOf({ before, after }: Pick<AuditEntry, "before" | "after">): string[] {
  if (!isObject(after)) return [];
  return Object.entries(after).flatMap(([name, value]) => {
    const now = JSON.stringify(value);
    if (value === null || value === "" || (Array.isArray(value) && value.length === 0 && !isObject(before)))
      return [];
    if (!isObject(before)) return [`${name}: ${now}`];
    const old = JSON.stringify(before[name]);
    return old === now ? [] : [`${name}: ${old} → ${now}`];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
