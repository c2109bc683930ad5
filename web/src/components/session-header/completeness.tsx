import { Shield, ShieldAlert, ShieldCheck, ShieldX } from "lucide-react";
import type { SessionDetail } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { Panel } from "@/components/ui/panel";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { expiredEvents, ruleText } from "@/lib/expiration";
import { formatCount, plural } from "@/lib/number";
import { formatClock, formatDateTime } from "@/lib/time";

type State = SessionDetail["completeness"];

const looks = {
  good: { Icon: ShieldCheck, color: "text-good" },
  bad: { Icon: ShieldAlert, color: "text-bad" },
  failed: { Icon: ShieldX, color: "text-bad" },
  empty: { Icon: Shield, color: "text-muted" },
};

interface Props {
  state: SessionDetail["state"];
  completeness: State;
  /** The newest seq that the page knows. The backend may have checked fewer events. */
  upTo: number;
}

/** Whether all events are stored, and if not, which are missing and when they happened. */
export function Completeness({ state, completeness, upTo }: Props) {
  const { look, text } = summary(state, completeness, upTo);
  const { Icon, color } = looks[look];
  return (
    <Panel
      label="Completeness"
      trigger={
        <button
          type="button"
          className={`inline-flex items-center gap-1.5 rounded px-1 hover:bg-hover ${color}`}
        >
          <Icon size={15} aria-hidden />
          <span className="tabular-nums">{text}</span>
        </button>
      }
    >
      {look === "failed" || (look === "empty" && completeness.expired === 0) ? (
        <p>{text}.</p>
      ) : (
        <Details completeness={completeness} />
      )}
    </Panel>
  );
}

/**
 * Describes the completeness. A session without events is never "good": there is nothing
 * to be complete. While events arrive, the text says up to which one the backend has
 * checked, so that it never contradicts the counts beside it.
 */
export function summary(
  state: Props["state"],
  { complete, expected, expired, present, damaged, lost, left_out }: State,
  upTo = expected,
): { look: keyof typeof looks; text: string } {
  const kept = expected - expired;
  const unchecked = Math.max(0, upTo - expected);
  if (complete && kept === 0 && unchecked > 0) {
    return { look: "empty", text: `${plural(unchecked, "event")}, not checked yet` };
  }
  if (complete && kept === 0) {
    if (expired > 0) return { look: "empty", text: `${plural(expired, "event")} expired, none left` };
    return state === "failed"
      ? { look: "failed", text: "The start failed; no events were recorded" }
      : { look: "empty", text: "No events" };
  }
  const count =
    unchecked > 0
      ? plural(present + unchecked, "event")
      : `${formatCount(present)} of ${plural(kept, "event")}`;
  const checked = unchecked > 0 ? ` up to event ${formatCount(expected)}` : "";
  const leftOut = leftOutEvents(left_out);
  const older =
    (expired > 0 ? `, ${formatCount(expired)} older expired` : "") +
    (leftOut > 0 ? `, ${formatCount(leftOut)} left out on request` : "");
  if (complete) return { look: "good", text: `${count}, none lost${checked}${older}` };
  const faults = [];
  if (present < kept) faults.push(`${formatCount(kept - present)} missing here`);
  const unreadable = damaged.reduce((n, span) => n + span.last_seq - span.first_seq + 1, 0);
  if (unreadable > 0) faults.push(`${formatCount(unreadable)} damaged here`);
  if (lost > 0) faults.push(`${formatCount(lost)} lost on the way`);
  return { look: "bad", text: `${count}, ${faults.join(", ") || "not complete"}${checked}${older}` };
}

/** The events that the agent did not report because the session did not want them. */
function leftOutEvents(counts: State["left_out"]): number {
  // "contents" counts events that are reported without their bytes.
  return Object.entries(counts).reduce((sum, [name, count]) => (name === "contents" ? sum : sum + count), 0);
}

/** What the session does not want, and how many events that were, if it is anything. */
function LeftOut({ completeness: { selection, left_out } }: { completeness: State }) {
  const { leaveOut = [], onlyPaths = [], leaveOutPaths = [] } = selection ?? {};
  const counts = Object.entries(left_out);
  if (leaveOut.length + onlyPaths.length + leaveOutPaths.length + counts.length === 0) return null;
  const lists = [
    ["Events", leaveOut],
    ["Only below", onlyPaths],
    ["Not below", leaveOutPaths],
  ] as const;
  return (
    <section>
      <h3 className="font-medium">Left out on request: not recorded, not missing</h3>
      <ul className="text-xs text-muted">
        {lists.map(
          ([name, list]) =>
            list.length > 0 && (
              <li key={name}>
                {name}: <SafeText text={list.join(", ")} limit={500} className="break-words" />
              </li>
            ),
        )}
        {counts.map(([name, count]) => (
          <li key={name}>
            {name === "contents"
              ? `${plural(count, "event")} without their bytes`
              : `${name}: ${plural(count, "event")}`}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Details({ completeness }: { completeness: State }) {
  const { zone } = useSettings();
  const { change } = useView();
  if (completeness.complete) {
    return (
      <div className="flex flex-col gap-3">
        {completeness.expired < completeness.expected && (
          <p>
            Every number from {formatCount(completeness.expired + 1)} to {formatCount(completeness.expected)}{" "}
            is stored, and no agent reported a loss. The agent reported no other events.
          </p>
        )}
        <Expired completeness={completeness} />
        <LeftOut completeness={completeness} />
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-3">
      <Expired completeness={completeness} />
      <LeftOut completeness={completeness} />
      <Spans title="Not stored here" spans={completeness.missing} />
      <Spans title="Stored, but damaged: they cannot be read" spans={completeness.damaged} />
      {completeness.losses.length > 0 && (
        <section>
          <h3 className="font-medium">Lost before they reached the backend</h3>
          <p className="text-xs text-muted">As the agent reported it, newest first.</p>
          <ul className="mt-1 flex flex-col gap-0.5">
            {completeness.losses.map((loss) => (
              <li key={loss.seq}>
                <button
                  type="button"
                  className="w-full rounded px-1 text-left text-xs hover:bg-hover"
                  onClick={() => change({ seq: loss.seq }, { push: true })}
                >
                  <span className="font-medium tabular-nums">{formatCount(loss.count)}</span>{" "}
                  {loss.from && loss.to
                    ? `from ${formatClock(loss.from, zone)} to ${formatClock(loss.to, zone)}`
                    : `reported ${formatClock(loss.timestamp, zone)}`}
                  {loss.reason && (
                    <>
                      {" · "}
                      <SafeText text={loss.reason.replaceAll("_", " ")} limit={80} />
                    </>
                  )}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

/** The expired events, and by which settings they expired, if there are any. */
function Expired({ completeness: { expired, expirations } }: { completeness: State }) {
  const { zone } = useSettings();
  if (expired === 0) return null;
  return (
    <section>
      <h3 className="font-medium">Expired: removed, not missing</h3>
      <ul className="text-xs text-muted">
        {expirations.length === 0 && <li>events 1 to {formatCount(expired)}, before the import</li>}
        {expirations.map((record) => (
          <li key={record.id}>
            {expiredEvents(record)}, {formatDateTime(record.expired_at, zone)}, by {ruleText(record)}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A list of ranges of events, if there are any. */
function Spans({ title, spans }: { title: string; spans: State["missing"] }) {
  if (spans.length === 0) return null;
  return (
    <section>
      <h3 className="font-medium">{title}</h3>
      <ul className="text-xs text-muted">
        {spans.map((span) => (
          <li key={span.first_seq}>
            {formatCount(span.first_seq)} to {formatCount(span.last_seq)}
          </li>
        ))}
      </ul>
    </section>
  );
}
