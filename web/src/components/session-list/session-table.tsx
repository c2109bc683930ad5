import { Pin } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import type { Session } from "@/api/client";
import { FindingCounts } from "@/components/findings/finding-counts";
import { ForRole } from "@/components/for-role";
import { SafeText } from "@/components/safe-text";
import { StateBadge } from "@/components/state-badge";
import { Table, type TableColumn, useVisibleRows } from "@/components/table/table";
import { byId, focusIds, useFocusAfter } from "@/hooks/focus";
import { useNow } from "@/hooks/now";
import { useSettings } from "@/hooks/settings";
import { useShortcut } from "@/hooks/shortcuts";
import { formatBytes, formatCount } from "@/lib/number";
import { endText, isImportedCopy, modeNames, monitoredMicros, sessionTitle } from "@/lib/session";
import { formatAgo, formatDateTime, formatDuration } from "@/lib/time";
import { SessionMenu } from "./session-menu";

const columns: readonly TableColumn<Session>[] = [
  {
    id: "state",
    label: "State",
    width: 116,
    phone: 108,
    cell: (session) => (
      <>
        <StateBadge session={session} />
        {session.end && (
          <span className="block truncate pl-3.5 text-xs text-muted">{endText(session.end)}</span>
        )}
      </>
    ),
  },
  {
    id: "session",
    label: "Session",
    width: 40,
    grow: "1fr",
    phone: 0,
    look: "overflow-visible!",
    cell: (session) => <Title session={session} />,
  },
  {
    id: "findings",
    label: "Findings",
    width: 164,
    phone: 92,
    look: "overflow-visible!",
    cell: (session) => <FindingCounts session={session} />,
  },
  { id: "mode", label: "Mode", width: 156, look: "text-muted", cell: ({ mode }) => modeNames[mode] },
  {
    id: "events",
    label: "Events",
    width: 108,
    align: "right",
    look: "font-mono text-xs",
    cell: (session) => formatCount(session.event_count - session.expired_seq),
  },
  {
    id: "monitored",
    label: "Monitored",
    width: 124,
    align: "right",
    look: "text-xs text-muted",
    cell: (session) => <Monitored session={session} />,
  },
  {
    id: "created",
    label: "Created",
    width: 156,
    look: "text-xs text-muted",
    cell: (session) => <Created at={session.created_at} />,
  },
  {
    id: "more",
    label: "More",
    isBare: true,
    width: 44,
    phone: 44,
    look: "relative z-1 overflow-visible!",
    cell: (session) => (
      <ForRole least="analyst">
        <SessionMenu session={session} />
      </ForRole>
    ),
  },
];

interface Props {
  sessions: Session[];
  /** Called when the end of the list comes into sight. */
  onEnd: () => void;
}

export function SessionTable({ sessions, onEnd }: Props) {
  const [chosen, setChosen] = useState(-1);
  // The row whose link gets the focus once it is drawn. Its Enter is then the browser's own.
  const wanted = useRef<number>(undefined);
  const visible = useVisibleRows(sessions.length, 52, onEnd);
  const { scroller } = visible;
  const move = (step: number) => {
    const next = Math.min(sessions.length - 1, Math.max(0, chosen + step));
    setChosen(next);
    wanted.current = next;
    visible.virtual.scrollToIndex(next);
  };
  useShortcut("j", "Next session", "Sessions", () => move(1));
  useShortcut("k", "Previous session", "Sessions", () => move(-1));
  // If the row with the focus is deleted, the row in its place gets it.
  const focused = useRef<{ id: string; index: number }>(undefined);
  useFocusAfter(scroller, () => byId(focusIds.upload));
  useEffect(() => {
    const { current } = focused;
    if (!current || sessions.some(({ id }) => id === current.id)) return;
    focused.current = undefined;
    if (document.activeElement === document.body)
      wanted.current = Math.min(current.index, sessions.length - 1);
  }, [sessions]);
  const handleKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || event.defaultPrevented) return;
    event.preventDefault();
    move(step);
  };
  useEffect(() => {
    const link = scroller.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"] a`);
    if (wanted.current === undefined || !link) return;
    wanted.current = undefined;
    link.focus({ preventScroll: true });
  });

  return (
    <Table
      role="table"
      label="Sessions"
      name="sessions"
      columns={columns}
      count={sessions.length}
      rowAt={(index) => sessions[index]}
      keyAt={(index) => sessions[index]?.id ?? index}
      visible={visible}
      inset="px-2.5"
      rowProps={(index, session) => ({
        "aria-selected": index === chosen,
        onFocus: () => {
          if (session) focused.current = { id: session.id, index };
          setChosen(index);
        },
        onKeyDown: handleKey,
        className: index === chosen ? "bg-selected" : "bg-surface hover:bg-hover",
      })}
    />
  );
}

function Title({ session }: { session: Session }) {
  const { zone } = useSettings();
  return (
    <>
      <span className="flex items-center gap-2">
        <Link
          href={`/sessions/${encodeURIComponent(session.id)}`}
          data-session={session.id}
          className="min-w-0 truncate font-medium before:absolute before:inset-0 hover:text-accent"
        >
          <SafeText text={sessionTitle(session)} limit={200} />
        </Link>
        {session.keep && (
          <span className="shrink-0 text-muted" title="Marked keep: retention does not remove it">
            <Pin size={13} aria-label="Marked keep" />
          </span>
        )}
        {session.tags.slice(0, 4).map((tag) => (
          <span
            key={tag}
            className="max-w-32 shrink truncate rounded-full border border-line px-1.5 text-2xs text-muted max-sm:hidden"
          >
            <SafeText text={tag} limit={100} />
          </span>
        ))}
      </span>
      <span className="block truncate text-xs text-muted">
        {session.imported_at && (
          <span
            className="text-ink"
            title={`Imported ${formatDateTime(session.imported_at, zone)}${session.imported_from ? `, from the session ${session.imported_from}` : ""}`}
          >
            {isImportedCopy(session) ? "Imported copy" : "Imported"}
            {" · "}
          </span>
        )}
        {about(session)}
      </span>
    </>
  );
}

function Monitored({ session }: { session: Session }) {
  const monitored = monitoredMicros(session, useNow(10_000));
  return monitored === undefined ? "–" : formatDuration(monitored);
}

function Created({ at }: { at: string }) {
  const { zone } = useSettings();
  return <span title={formatDateTime(at, zone)}>{formatAgo(at, zone, useNow(10_000))}</span>;
}

function about(session: Session) {
  if (session.id === "unassigned") return "Events received while nothing was monitored";
  if (!session.file_sha256)
    return session.file_name ? <SafeText text={session.file_name} limit={200} /> : "No file";
  const details = `${formatBytes(session.file_size_bytes)} · ${session.file_sha256.slice(0, 12)}…`;
  if (!session.name) return details;
  return (
    <>
      <SafeText text={session.file_name} limit={200} /> · {details}
    </>
  );
}
