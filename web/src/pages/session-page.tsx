import { lazy, Suspense, useRef } from "react";
import { Link, Redirect } from "wouter";
import { useSession } from "@/api/queries";
import { CatchErrors } from "@/components/catch-errors";
import { FilterBar } from "@/components/filter-bar/filter-bar";
import { SessionHeader } from "@/components/session-header/session-header";
import { Timeline } from "@/components/timeline/timeline";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { SessionStreamProvider, useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/lib/view";
import { type ViewName, ViewTabs, viewNames } from "./session/view-tabs";

const views: Record<ViewName, React.LazyExoticComponent<() => React.ReactNode>> = {
  events: lazy(() => import("./session/events-view")),
  processes: lazy(() => import("./session/processes-view")),
  files: lazy(() => import("./session/files-view")),
  http: lazy(() => import("./session/http-view")),
  network: lazy(() => import("./session/network-view")),
};

/** Views that show the details of what is open in their own way. */
const ownDetail: ReadonlySet<ViewName> = new Set(["http"]);

const EventDetail = lazy(() => import("@/components/event-detail/event-detail"));

/** One session: what it is, its timeline, and a view of its events. */
export default function SessionPage({ sessionId, view = "events" }: { sessionId: string; view?: string }) {
  const session = useSession(sessionId);
  const { filter } = useView();
  // The stream begins where the session stood when the page was opened.
  const after = useRef<number>(undefined);
  if (session.isPending) return <LoadingState label="Loading the session" />;
  if (!session.data) return <ErrorState error={session.error} retry={() => void session.refetch()} />;
  after.current ??= session.data.event_count;
  if (!isViewName(view)) return <Redirect to={`/sessions/${encodeURIComponent(sessionId)}`} replace />;
  return (
    <SessionStreamProvider sessionId={sessionId} filter={filter} after={after.current}>
      <Content sessionId={sessionId} view={view} />
    </SessionStreamProvider>
  );
}

function Content({ sessionId, view }: { sessionId: string; view: ViewName }) {
  const { deleted } = useSessionStream();
  const { view: shown } = useView();
  const View = views[view];
  if (deleted) {
    return (
      <EmptyState title="This session was deleted">
        <Link href="/" className="text-accent underline">
          Go to the sessions
        </Link>
      </EmptyState>
    );
  }
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <SessionHeader sessionId={sessionId} />
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line bg-surface px-3 py-1.5">
        <ViewTabs sessionId={sessionId} current={view} />
        <FilterBar sessionId={sessionId} />
      </div>
      <Timeline sessionId={sessionId} />
      <div className="flex min-h-0 flex-1">
        <section aria-label={view} className="flex min-w-0 flex-1 flex-col">
          <CatchErrors key={view}>
            <Suspense fallback={<LoadingState />}>
              <View />
            </Suspense>
          </CatchErrors>
        </section>
        {shown.seq !== undefined && !ownDetail.has(view) && (
          <CatchErrors>
            <Suspense fallback={<LoadingState />}>
              <EventDetail sessionId={sessionId} seq={shown.seq} />
            </Suspense>
          </CatchErrors>
        )}
      </div>
    </div>
  );
}

function isViewName(name: string): name is ViewName {
  return (viewNames as readonly string[]).includes(name);
}
