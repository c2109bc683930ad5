import { useQuery } from "@tanstack/react-query";
import { ChevronDown, Eye, EyeOff, X } from "lucide-react";
import { useLocation, useSearch } from "wouter";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Menu, MenuItem, MenuLabel } from "@/components/ui/menu";
import { useSessionStream } from "@/hooks/session-stream";
import { useShortcut } from "@/hooks/shortcuts";
import { useView } from "@/hooks/view";
import { and, quote } from "@/lib/filter";
import { formatCount, plural } from "@/lib/number";
import { viewFilter, viewPath, writeView } from "@/lib/view";

/** The button that hides what every program does. */
export function RoutineButton() {
  const { view, change } = useView();
  const isHidden = view.hidesRoutine === true;
  const toggle = () => change({ hidesRoutine: isHidden ? undefined : true });
  useShortcut("h", "Hide or show routine events", "Filter", toggle);
  return (
    <Button
      look="ghost"
      size="icon"
      aria-pressed={isHidden}
      aria-label="Hide routine events"
      title={`${isHidden ? "Show" : "Hide"} routine events, which every program makes (h)`}
      onClick={toggle}
      className={isHidden ? "bg-selected! text-accent!" : ""}
    >
      {isHidden ? <EyeOff size={16} /> : <Eye size={16} />}
    </Button>
  );
}

/** How many events are hidden, and by which rules. */
export function HiddenRoutine({ sessionId }: { sessionId: string }) {
  const { view, change } = useView();
  const shown = viewFilter({ ...view, hidesRoutine: undefined });
  const count = useCount(sessionId, and(shown, "routine = true"), view.hidesRoutine === true).data?.count;
  if (!view.hidesRoutine) return null;
  return (
    <span className="mt-0.5 flex h-7 min-w-0 items-center rounded-md border border-line bg-selected text-xs">
      <Menu
        align="start"
        trigger={
          <button
            type="button"
            title="Show what is hidden, by rule"
            className="flex h-full min-w-0 items-center gap-1.5 rounded-l-md px-2 hover:bg-hover"
          >
            <EyeOff size={13} aria-hidden />
            <span className="truncate tabular-nums">
              {count === undefined ? "Routine events hidden" : `${plural(count, "routine event")} hidden`}
            </span>
            <ChevronDown size={13} aria-hidden />
          </button>
        }
      >
        <Parts sessionId={sessionId} shown={shown} />
      </Menu>
      <button
        type="button"
        aria-label="Show routine events again"
        title="Show routine events again (h)"
        onClick={() => change({ hidesRoutine: undefined })}
        className="grid h-full w-6 shrink-0 place-items-center rounded-r-md text-muted hover:bg-hover hover:text-ink"
      >
        <X size={13} />
      </button>
    </span>
  );
}

/** How many events of a session are routine, and by which rules. Each rule leads to its events. */
export function RoutineEvents({ sessionId }: { sessionId: string }) {
  const count = useCount(sessionId, "routine = true", true).data?.count;
  if (!count) return null;
  return (
    <Menu
      align="start"
      trigger={
        <Button size="small" look="ghost" title="Show them by rule">
          {plural(count, "routine event")} left out
          <ChevronDown size={13} aria-hidden />
        </Button>
      }
    >
      <Parts sessionId={sessionId} shown="" />
    </Menu>
  );
}

function useCount(sessionId: string, filter: string, enabled: boolean) {
  const newest = useSessionStream().session?.event_count ?? 0;
  return useQuery({
    queryKey: keys.of(sessionId, "count", filter),
    enabled,
    queryFn: async ({ signal }) => {
      const query = { filter, limit: 1, count: true };
      const params = { path: { sessionId }, query };
      const { count = 0 } = await call(api.GET("/api/sessions/{sessionId}/events", { params, signal }));
      return { count, upTo: newest };
    },
    refetchInterval: ({ state: { data } }) => (data && data.upTo < newest ? 3000 : false),
  });
}

/** The routine rules that hide events here. Each opens the table of its events. */
function Parts({ sessionId, shown }: { sessionId: string; shown: string }) {
  const { data, error } = useQuery({
    queryKey: keys.of(sessionId, "routine-parts", shown),
    queryFn: async ({ signal }) => {
      const { rules } = await call(api.GET("/api/rules", { signal }));
      const routine = rules.filter(({ kind, state }) => kind === "routine" && state === "running");
      const parts = await Promise.all(
        routine.map(async ({ rule_id, title }) => {
          const filter = `routine = ${quote(rule_id)}`;
          const query = { filter: and(shown, filter), limit: 1, count: true };
          const params = { path: { sessionId }, query };
          const { count = 0 } = await call(api.GET("/api/sessions/{sessionId}/events", { params, signal }));
          return { filter, title, count };
        }),
      );
      return parts.filter(({ count }) => count > 0).sort((a, b) => b.count - a.count);
    },
  });
  const [, navigate] = useLocation();
  const search = useSearch();
  const { view } = useView();
  const open = (filter: string) => {
    const next = { ...view, filter: and(view.filter, filter), hidesRoutine: undefined, seq: undefined };
    navigate(viewPath(sessionId, "events", writeView(new URLSearchParams(search), next).toString()));
  };
  return (
    <>
      <MenuLabel>By rule. Some match several</MenuLabel>
      {data?.map(({ filter, title, count }) => (
        <MenuItem key={filter} onSelect={() => open(filter)}>
          <span className="min-w-0 flex-1">
            <SafeText text={title} limit={120} />
          </span>
          <span className="text-muted tabular-nums">{formatCount(count)}</span>
        </MenuItem>
      ))}
      {data?.length === 0 && (
        <MenuItem disabled onSelect={() => {}}>
          No events
        </MenuItem>
      )}
      {!data && (
        <MenuItem disabled onSelect={() => {}}>
          {error ? "The rules cannot be read" : "Counting…"}
        </MenuItem>
      )}
    </>
  );
}
