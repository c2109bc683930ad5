import { ChevronLeft, CircleDashed, CloudOff, Radio, RefreshCw } from "lucide-react";
import { useEffect } from "react";
import { Link, useLocation } from "wouter";
import type { Session, SessionDetail } from "@/api/client";
import { isLive, useSession } from "@/api/queries";
import { CopyButton } from "@/components/copy-button";
import { ForRole } from "@/components/for-role";
import { MonitorButton } from "@/components/monitor/monitor-button";
import { SafeText } from "@/components/safe-text";
import { SessionMenu } from "@/components/session-list/session-menu";
import { StateBadge } from "@/components/state-badge";
import { useConnection } from "@/hooks/connection";
import { focusIds } from "@/hooks/focus";
import { useLive } from "@/hooks/live";
import { useNow } from "@/hooks/now";
import { useSessionStream } from "@/hooks/session-stream";
import { useSettings } from "@/hooks/settings";
import { formatBytes, plural } from "@/lib/number";
import { isImportedCopy, modeNames, monitoredMicros, sessionTitle } from "@/lib/session";
import { plainText } from "@/lib/text";
import { formatDateTime, formatDuration } from "@/lib/time";
import { Backfill } from "./backfill";
import { Completeness } from "./completeness";
import { Ending } from "./ending";
import { Exclusions } from "./exclusions";
import { ExportMenu } from "./export-menu";
import { Fact } from "./fact";

/** The header of a session: title, state, completeness and actions. */
export function SessionHeader({ sessionId }: { sessionId: string }) {
  const { data: details } = useSession(sessionId);
  const { session } = useSessionStream();
  const { upTo } = useLive();
  const { zone } = useSettings();
  const [, navigate] = useLocation();
  const title = session ? sessionTitle(session) : sessionId;
  useEffect(() => {
    document.title = `${plainText(title, 80)} · OS-Pulse`;
    return () => {
      document.title = "OS-Pulse";
    };
  }, [title]);
  if (!session) return null;
  return (
    // On narrow screens, the actions are beside the title, and the state begins the line of facts.
    <header className="flex flex-wrap items-center gap-x-4 gap-y-1 border-b border-line bg-surface px-3 py-2 max-sm:gap-x-3 max-sm:gap-y-0.5 max-sm:py-1">
      <div className="flex min-w-0 flex-1 basis-80 flex-col max-sm:contents">
        <div className="flex min-w-0 items-center gap-2 max-sm:contents">
          <div className="flex min-w-0 items-center gap-2 max-sm:flex-1">
            <Link
              href="/"
              aria-label="All sessions"
              className="rounded p-0.5 text-muted hover:bg-hover hover:text-ink"
            >
              <ChevronLeft size={18} />
            </Link>
            <h1 id={focusIds.title} tabIndex={-1} className="min-w-0 truncate text-base font-semibold">
              <SafeText text={title} limit={200} />
            </h1>
          </div>
          <div className="flex items-center gap-2 max-sm:order-2">
            <StateBadge session={session} />
            <StreamMark session={session} />
          </div>
        </div>
        <dl className="relative flex items-center gap-x-4 text-xs max-sm:gap-x-2 text-muted max-sm:order-2 max-sm:min-w-0 max-sm:flex-1 max-sm:overflow-x-auto max-sm:whitespace-nowrap max-sm:[scrollbar-width:none] sm:flex-wrap sm:pl-7">
          <Fact label="Completeness">
            {details ? (
              <Completeness state={session.state} completeness={details.completeness} upTo={upTo} />
            ) : (
              <span className="px-1">{plural(session.event_count - session.expired_seq, "event")}</span>
            )}
          </Fact>
          {details?.backfill && (
            <Fact label="Backfill" isFirst>
              <Backfill sessionId={sessionId} backfill={details.backfill} />
            </Fact>
          )}
          <FileFacts session={session} />
          {session.mode !== 0 && <Fact label="Mode">{modeNames[session.mode]}</Fact>}
          {session.mode === 1 && <Exclusions session={session} />}
          {session.monitoring_started && (
            <Fact label="Monitored">
              <Duration session={session} />
            </Fact>
          )}
          {session.end && (
            <Fact label="Ending" isFirst>
              <Ending session={session} />
            </Fact>
          )}
          {session.start_error && (
            <Fact label="Start" isFirst>
              <SafeText text={session.start_error.text} limit={300} className="text-bad" />
            </Fact>
          )}
          {session.state === "active" && session.agent_silent_since && (
            <Fact label="Silence" isFirst>
              <span className="text-warn">
                No sign of the agent since {formatDateTime(session.agent_silent_since, zone)}
              </span>
            </Fact>
          )}
          <Origin session={session} />
          {details && <AgentFact session={details} />}
        </dl>
      </div>
      <div className="flex items-center gap-2 max-sm:order-1">
        <ForRole least="analyst">
          <ExportMenu session={session} />
          <MonitorButton session={session} />
          <SessionMenu session={session} onDeleted={() => navigate("/")} />
        </ForRole>
      </div>
      <div className="order-1 hidden basis-full max-sm:block" />
    </header>
  );
}

function FileFacts({ session }: { session: Session }) {
  if (!session.file_sha256) return null;
  return (
    <Fact label="File">
      {session.name && (
        <>
          <SafeText text={session.file_name} limit={80} className="truncate" />
          <span className="px-1">·</span>
        </>
      )}
      <span className="whitespace-nowrap">{formatBytes(session.file_size_bytes)}</span>
      <span className="px-1 max-sm:hidden">·</span>
      <code className="font-mono text-2xs max-sm:hidden" title={session.file_sha256}>
        {session.file_sha256.slice(0, 16)}…
      </code>
      <CopyButton text={session.file_sha256} label="Copy the SHA-256" />
    </Fact>
  );
}

/** Where an imported session comes from. */
function Origin({ session }: { session: Session }) {
  const { zone } = useSettings();
  if (!session.imported_at) return null;
  return (
    <Fact label="Origin">
      <span title={session.imported_from ? `The session ${session.imported_from} of the bundle` : undefined}>
        {isImportedCopy(session) ? "Copy, imported" : "Imported"} {formatDateTime(session.imported_at, zone)}
      </span>
    </Fact>
  );
}

function Duration({ session }: { session: Session }) {
  const now = useNow(1000, session.state === "active");
  const micros = monitoredMicros(session, now);
  return <span className="tabular-nums">{formatDuration(micros ?? 0)}</span>;
}

/** Shows that the session's agent is offline. For the default agent, it uses the health, which is polled often. */
function AgentFact({ session }: { session: SessionDetail }) {
  const { health, lostSince } = useConnection();
  if (!session.agent || lostSince !== undefined) return null;
  const status =
    session.agent.id === "default" ? (health?.agent?.status ?? session.agent.status) : session.agent.status;
  if (status !== "down") return null;
  return (
    <Fact label="Agent" isFirst>
      <span className="flex items-center gap-1 text-bad">
        <CloudOff size={13} aria-hidden /> Agent offline
      </span>
    </Fact>
  );
}

/** The state of the connection: shown while events may arrive, or if the connection is lost. */
function StreamMark({ session }: { session: Session }) {
  const { state } = useSessionStream();
  const { lostSince } = useConnection();
  if (lostSince !== undefined || state === "lost") {
    return (
      <span className="flex items-center gap-1 text-xs text-bad">
        <CloudOff size={13} aria-hidden /> {lostSince === undefined ? "Reconnecting" : "Not connected"}
      </span>
    );
  }
  if (!isLive(session)) return null;
  const [Icon, text] =
    state === "live"
      ? ([Radio, "Live"] as const)
      : state === "polling"
        ? ([RefreshCw, "Live, polled every second: too many tabs are open for another stream"] as const)
        : ([CircleDashed, "Connecting"] as const);
  return (
    <span className="flex items-center gap-1 text-xs whitespace-nowrap text-accent" title={text}>
      <Icon size={13} aria-hidden /> {state === "connecting" ? "Connecting" : "Live"}
    </span>
  );
}
