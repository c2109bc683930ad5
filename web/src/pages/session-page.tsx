import { useEffect } from "react";
import { Link, Redirect, useSearch } from "wouter";
import { useSession } from "@/api/queries";
import { CatchErrors } from "@/components/catch-errors";
import { defer } from "@/components/defer";
import { ColumnsProvider, useColumns } from "@/components/event-table/columns-provider";
import { FilterBar } from "@/components/filter-bar/filter-bar";
import { SessionHeader } from "@/components/session-header/session-header";
import { Split } from "@/components/split";
import { Timeline } from "@/components/timeline/timeline";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { byId, focusIds, useArrival } from "@/hooks/focus";
import { SessionStreamProvider, useSessionStream } from "@/hooks/session-stream";
import { useShortcut } from "@/hooks/shortcuts";
import { useView } from "@/hooks/view";
import { type ViewName, viewNames, viewPath } from "@/lib/view";
import { ViewTabs } from "./session/view-tabs";

const views = {
  summary: defer(() => import("./session/summary-view")),
  events: defer(() => import("./session/events-view")),
  processes: defer(() => import("./session/processes-view")),
  files: defer(() => import("./session/files-view")),
  http: defer(() => import("./session/http-view")),
  network: defer(() => import("./session/network-view")),
  findings: defer(() => import("./session/findings-view")),
} satisfies Record<ViewName, unknown>;

/** The views that show details in a pane of their own. */
const ownDetail: ReadonlySet<ViewName> = new Set(["http"]);

const EventDetail = defer(() => import("@/components/event-detail/event-detail"));

/**
 * A session: its header, its timeline, and a view of its events. Without a view it is the
 * summary; links of older versions that select events open these.
 */
export default function SessionPage({ sessionId, view }: { sessionId: string; view?: string }) {
  const search = useSearch();
  if (view === undefined || !isViewName(view)) {
    const selects = search !== "" && view === undefined;
    return <Redirect to={viewPath(sessionId, selects ? "events" : "summary", search)} replace />;
  }
  return (
    <ColumnsProvider>
      <Streamed sessionId={sessionId} view={view} />
    </ColumnsProvider>
  );
}

function Streamed({ sessionId, view }: { sessionId: string; view: ViewName }) {
  const { filter } = useView();
  const { fields } = useColumns();
  return (
    <SessionStreamProvider sessionId={sessionId} filter={filter} fields={fields}>
      <Content sessionId={sessionId} view={view} />
    </SessionStreamProvider>
  );
}

function Content({ sessionId, view }: { sessionId: string; view: ViewName }) {
  const { deleted, session } = useSessionStream();
  const details = useSession(sessionId);
  const { view: shown } = useView();
  const View = views[view];
  // A new session is started next; of another, the events are read.
  useArrival(
    session !== undefined,
    () => byId(session?.state === "created" ? focusIds.start : focusIds.view) ?? byId(focusIds.view),
    sessionId,
  );
  useEffect(() => {
    // Loads the code of the view while the session loads. The view itself shows an error.
    void views[view].load().catch(() => {});
  }, [view]);
  if (deleted) {
    return (
      <EmptyState title="This session was deleted">
        <Link href="/" className="text-accent underline">
          Go to the sessions
        </Link>
      </EmptyState>
    );
  }
  // The stream sends the session early; its counts may take much longer.
  if (!session) {
    if (details.isError) return <ErrorState error={details.error} retry={() => void details.refetch()} />;
    return <LoadingState label="Loading the session" />;
  }
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <SessionHeader sessionId={sessionId} />
      <div className="flex flex-wrap items-start gap-x-3 gap-y-1 border-b border-line bg-surface px-3 py-1.5 max-sm:py-1">
        <ViewTabs sessionId={sessionId} current={view} />
        {view !== "summary" && <FilterBar sessionId={sessionId} />}
      </div>
      <Timeline sessionId={sessionId} />
      <Split
        pane={
          shown.seq !== undefined && !ownDetail.has(view) && <Details sessionId={sessionId} seq={shown.seq} />
        }
      >
        <section
          id={focusIds.view}
          tabIndex={-1}
          aria-label={view}
          className="flex min-w-0 flex-1 flex-col -outline-offset-2"
        >
          <CatchErrors key={view}>
            <View />
          </CatchErrors>
        </section>
      </Split>
    </div>
  );
}

/** The details of an event. The key that closes them works before their code is loaded. */
function Details({ sessionId, seq }: { sessionId: string; seq: number }) {
  const { change } = useView();
  useShortcut("Escape", "Close the details", "Details", () => change({ seq: undefined }));
  return (
    <CatchErrors>
      <EventDetail sessionId={sessionId} seq={seq} />
    </CatchErrors>
  );
}

function isViewName(name: string): name is ViewName {
  return (viewNames as readonly string[]).includes(name);
}
