import { FlaskConical, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { ApiError, api, call, messageOf } from "@/api/client";
import { useSessions } from "@/api/queries";
import type { components } from "@/api/schema";
import { FailedSign } from "@/components/findings/failed-sign";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { formatCount, plural } from "@/lib/number";
import { sessionTitle } from "@/lib/session";
import { viewPath } from "@/lib/view";

type Trial = components["schemas"]["RuleTrial"];

type Run =
  | { state: "running"; stop: AbortController }
  | { state: "done"; trial: Trial; text: string }
  | { state: "failed"; error: unknown }
  | { state: "cancelled" };

/** Runs a rule over stored sessions on request; the run can be cancelled. */
export function useTrial(text: string) {
  const [run, setRun] = useState<Run>();
  const latest = useRef<AbortController>(undefined);
  useEffect(() => () => latest.current?.abort(), []);
  const start = async () => {
    latest.current?.abort();
    const stop = new AbortController();
    latest.current = stop;
    setRun({ state: "running", stop });
    // Another run may have begun meanwhile.
    const set = (next: Run) => latest.current === stop && setRun(next);
    try {
      set({
        state: "done",
        text,
        trial: await call(api.POST("/api/rules/test", { body: { text }, signal: stop.signal })),
      });
    } catch (error) {
      set(stop.signal.aborted ? { state: "cancelled" } : { state: "failed", error });
    }
  };
  return { run, start: () => void start(), text };
}

/** "Would this rule have fired?": the sessions in which the rule finds events. */
export function RuleTrial({ trial: { run, start, text } }: { trial: ReturnType<typeof useTrial> }) {
  return (
    <section aria-label="Test" className="flex flex-col gap-2 text-xs">
      <h2 className="text-sm font-semibold">Would this rule have fired?</h2>
      <div>
        {run?.state === "running" ? (
          <Button size="small" onClick={() => run.stop.abort()}>
            <X size={14} aria-hidden /> Cancel
          </Button>
        ) : (
          <Button size="small" title="Ctrl+Enter in the editor" onClick={start}>
            <FlaskConical size={14} aria-hidden /> Test
          </Button>
        )}
      </div>
      <div role="status" className="flex flex-col gap-2">
        {run === undefined && (
          <p className="text-muted">A test applies the rule to the 20 newest sessions, and keeps nothing.</p>
        )}
        {run?.state === "running" && <p className="text-muted">Testing the events of the newest sessions…</p>}
        {run?.state === "cancelled" && <p className="text-muted">The test was cancelled.</p>}
        {run?.state === "failed" && (
          <p className="break-words text-bad">
            <SafeText text={messageOf(run.error)} />
            {run.error instanceof ApiError && run.error.status === 429 && " Try again in a moment."}
          </p>
        )}
        {run?.state === "done" && <Result trial={run.trial} isOld={run.text !== text} />}
      </div>
    </section>
  );
}

function Result({ trial, isOld }: { trial: Trial; isOld: boolean }) {
  const { data } = useSessions({});
  const sessions = data?.pages.flatMap((page) => page.sessions) ?? [];
  if (trial.rule.state === "cannot_run") {
    return <p className="text-warn">The rule cannot run, so no event was evaluated.</p>;
  }
  const found = trial.sessions.filter(({ events }) => events > 0);
  const events = found.reduce((sum, session) => sum + session.events, 0);
  return (
    <>
      {isOld && <p className="text-warn">The text has changed since this test.</p>}
      <p>
        <b className="font-semibold">
          {found.length === 0
            ? "No. "
            : `Yes: ${plural(events, "event")} in ${plural(found.length, "session")}. `}
        </b>
        <span className="text-muted">
          {plural(trial.events_evaluated, "event")} of {plural(trial.sessions.length, "session")} in{" "}
          {formatCount(trial.took_ms)} ms.
        </span>
      </p>
      {!trial.complete && <p className="text-warn">The time did not suffice for all events.</p>}
      <ul className="flex flex-col gap-1">
        {found.map((session) => {
          const known = sessions.find(({ id }) => id === session.session_id);
          return (
            <li key={session.session_id} className="flex items-baseline gap-2">
              <Link
                href={viewPath(
                  session.session_id,
                  "events",
                  new URLSearchParams({ filter: `seq in (${session.seqs.join(", ")})` }).toString(),
                )}
                className="min-w-0 truncate text-accent underline"
              >
                <SafeText text={known ? sessionTitle(known) : session.session_id} limit={200} />
              </Link>
              <span className="shrink-0 text-muted">
                <FailedSign finding={session} />
                {plural(session.events, "event")}
                {session.seqs.length < session.events &&
                  `, the first ${formatCount(session.seqs.length)} linked`}
              </span>
            </li>
          );
        })}
      </ul>
    </>
  );
}
