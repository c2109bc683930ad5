import { useVirtualizer } from "@tanstack/react-virtual";
import { Pin } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import type { Session } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { StateBadge } from "@/components/state-badge";
import { byId, focusIds, useFocusAfter } from "@/hooks/focus";
import { useNow } from "@/hooks/now";
import { useSettings } from "@/hooks/settings";
import { useShortcut } from "@/hooks/shortcuts";
import { formatBytes, formatCount } from "@/lib/number";
import { endText, isImportedCopy, modeNames, monitoredMicros, sessionTitle } from "@/lib/session";
import { formatAgo, formatDateTime, formatDuration } from "@/lib/time";
import { SessionMenu } from "./session-menu";

const rowHeight = 52;
// State, name and file, mode, events, monitored, made, menu. Narrow screens omit the less important ones.
const columns =
  "grid grid-cols-[6rem_minmax(0,1fr)_5rem_2rem] md:grid-cols-[6.5rem_minmax(0,1fr)_9rem_6rem_7rem_9rem_2rem] items-center gap-3 px-4";

interface Props {
  sessions: Session[];
  /** Called when the end of the list comes into sight. */
  onEnd: () => void;
}

export function SessionTable({ sessions, onEnd }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState(-1);
  // The row whose link gets the focus once it is drawn. Its Enter is then the browser's own.
  const wanted = useRef<number>(undefined);
  const rows = useVirtualizer({
    count: sessions.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 6,
    initialRect: { width: 800, height: 800 },
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (last >= sessions.length - 10) onEnd();
  }, [last, sessions.length, onEnd]);

  const move = (step: number) => {
    const next = Math.min(sessions.length - 1, Math.max(0, chosen + step));
    setChosen(next);
    wanted.current = next;
    rows.scrollToIndex(next);
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
    const link = scroller.current?.querySelector<HTMLElement>(
      `[aria-rowindex="${(wanted.current ?? -1) + 2}"] a`,
    );
    if (wanted.current === undefined || !link) return;
    wanted.current = undefined;
    link.focus({ preventScroll: true });
  });

  return (
    <div ref={scroller} className="min-h-0 flex-1 overflow-y-auto">
      <div role="table" aria-label="Sessions" aria-rowcount={sessions.length + 1}>
        <div
          role="row"
          aria-rowindex={1}
          className={`${columns} sticky top-0 z-10 h-8 border-b border-line bg-page text-2xs font-semibold tracking-wide text-muted uppercase`}
        >
          <span role="columnheader">State</span>
          <span role="columnheader">Session</span>
          <span role="columnheader" className="hidden md:block">
            Mode
          </span>
          <span role="columnheader" className="text-right">
            Events
          </span>
          <span role="columnheader" className="hidden text-right md:block">
            Monitored
          </span>
          <span role="columnheader" className="hidden md:block">
            Created
          </span>
          <span role="columnheader" className="sr-only">
            More
          </span>
        </div>
        <div role="rowgroup" className="relative" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const session = sessions[item.index];
            return (
              session && (
                <div
                  key={session.id}
                  role="row"
                  aria-rowindex={item.index + 2}
                  aria-selected={item.index === chosen}
                  onFocus={() => {
                    focused.current = { id: session.id, index: item.index };
                    setChosen(item.index);
                  }}
                  onKeyDown={handleKey}
                  style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                  className={`${columns} absolute inset-x-0 border-b border-line ${item.index === chosen ? "bg-selected" : "bg-surface hover:bg-hover"}`}
                >
                  <Cells session={session} />
                </div>
              )
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Cells({ session }: { session: Session }) {
  const { zone } = useSettings();
  const now = useNow(10_000);
  const monitored = monitoredMicros(session, now);
  return (
    <>
      <span role="cell">
        <StateBadge session={session} />
        {session.end && (
          <span className="block truncate pl-3.5 text-xs text-muted">{endText(session.end)}</span>
        )}
      </span>
      <span role="cell" className="min-w-0">
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
      </span>
      <span role="cell" className="hidden truncate text-muted md:block">
        {modeNames[session.mode]}
      </span>
      <span role="cell" className="text-right font-mono text-xs tabular-nums">
        {formatCount(session.event_count - session.expired_seq)}
      </span>
      <span role="cell" className="hidden text-right text-xs text-muted tabular-nums md:block">
        {monitored === undefined ? "–" : formatDuration(monitored)}
      </span>
      <span
        role="cell"
        className="hidden text-xs text-muted md:block"
        title={formatDateTime(session.created_at, zone)}
      >
        {formatAgo(session.created_at, zone, now)}
      </span>
      <span role="cell" className="relative z-1">
        <SessionMenu session={session} />
      </span>
    </>
  );
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
