import { useQuery } from "@tanstack/react-query";
import { BookOpen } from "lucide-react";
import { useState } from "react";
import { useLocation } from "wouter";
import { api, call } from "@/api/client";
import { keys, useSession } from "@/api/queries";
import { AttackStrip } from "@/components/attack/attack-strip";
import { useAttackMatrix } from "@/components/attack/matrix";
import { RoutineEvents } from "@/components/routine/routine-switch";
import { FoundProcesses } from "@/components/story/found-processes";
import { Headline } from "@/components/story/headline";
import { Sections } from "@/components/story/sections";
import { Story } from "@/components/story/story";
import { Button } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { formatCount, plural } from "@/lib/number";
import { viewPath } from "@/lib/view";

/** The mode of a session that runs the uploaded file. */
const spawnMode = 3;

/** What the programs of the session did, in sentences. */
export default function SummaryView() {
  const { sessionId, session } = useSessionStream();
  const { view, change } = useView();
  const details = useSession(sessionId).data;
  const newest = session?.event_count ?? 0;
  const [showsAll, setShowsAll] = useState(false);
  const told = useQuery({
    queryKey: keys.of(sessionId, "findings", "story"),
    queryFn: ({ signal }) =>
      call(api.GET("/api/sessions/{sessionId}/story", { params: { path: { sessionId } }, signal })),
    refetchInterval: ({ state: { data } }) => {
      if (!data) return false;
      if (data.up_to_seq < data.event_count) return 100; // the backend reads for a moment at a time
      return Math.min(data.up_to_seq, data.rules_up_to_seq) < Math.max(data.event_count, newest)
        ? 1000
        : false;
    },
  });
  const [, navigate] = useLocation();
  const found = told.data?.findings ?? [];
  const matrix = useAttackMatrix(
    sessionId,
    `${found.length} ${found.reduce((sum, { events }) => sum + events, 0)}`,
  );
  if (told.isPending || !details) return <LoadingState label="Loading the summary" />;
  if (!told.data) return <ErrorState error={told.error} retry={() => void told.refetch()} />;
  // The agent runs an uploaded file in a mount namespace of its own, which is nothing to note.
  const isOwn = (root: string | null) => details.mode === spawnMode && root === "/";
  const story = {
    ...told.data,
    findings: told.data.findings.map((one) => (isOwn(one.root_path) ? { ...one, root_path: null } : one)),
  };
  if (story.event_count === 0) {
    return (
      <EmptyState icon={<BookOpen size={28} />} title="No events yet">
        {session?.state === "created"
          ? "Press Start, and what the program does is told here."
          : "What the programs do is told here as the agent reports it."}
      </EmptyState>
    );
  }
  const isPartial = story.up_to_seq < story.event_count;
  const steps = showsAll ? story.steps : story.steps.filter(({ ordinary }) => !ordinary);
  const sent = story.steps.filter(({ ordinary }) => ordinary).length;
  return (
    <div className="min-h-0 flex-1 overflow-auto">
      <div className="border-b border-line px-3 py-2">
        <Headline session={details} counts={story.counts} />
        {isPartial && (
          <p role="status" className="mt-1 text-xs text-warn">
            {`The summary covers ${formatCount(story.up_to_seq)} of ${plural(story.event_count, "event")} so far.`}
          </p>
        )}
        {story.rules_up_to_seq < story.event_count && (
          <p role="status" className="mt-1 text-xs text-muted">
            {`The rules have been applied to ${formatCount(story.rules_up_to_seq)} of ${plural(story.event_count, "event")}.`}
          </p>
        )}
      </div>
      {steps.length === 0 ? (
        <p className="px-3 py-4 text-muted">
          {isPartial
            ? "Nothing stands out so far."
            : "Nothing stands out. A program can do harm without a finding."}
        </p>
      ) : (
        <Story
          sessionId={sessionId}
          story={story}
          steps={steps}
          seq={view.seq}
          onChoose={(seq) => change({ seq })}
        />
      )}
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 px-3 py-2 text-xs text-muted">
        {story.ordinary_steps > 0 && (
          <Button size="small" aria-pressed={showsAll} onClick={() => setShowsAll(!showsAll)}>
            {showsAll ? "Hide" : "Show"} {plural(story.ordinary_steps, "ordinary step")}
          </Button>
        )}
        <RoutineEvents sessionId={sessionId} />
        {showsAll && sent < story.ordinary_steps && (
          <span>{`${plural(story.ordinary_steps - sent, "more ordinary step")} would be too many to show.`}</span>
        )}
        {story.left_out_events > 0 && (
          <span>{`${plural(story.left_out_events, "event")} did not fit into the summary. The list of events has all.`}</span>
        )}
      </div>
      {matrix.data && (
        <AttackStrip
          sessionId={sessionId}
          matrix={matrix.data}
          onChoose={(id) =>
            id !== undefined &&
            navigate(viewPath(sessionId, "findings", new URLSearchParams({ attack: id }).toString()))
          }
        />
      )}
      <Sections sessionId={sessionId} home={story.home} sections={story.sections}>
        {found.some(({ level }) => level !== "informational") && <FoundProcesses sessionId={sessionId} />}
      </Sections>
    </div>
  );
}
