import { ShieldAlert } from "lucide-react";
import { useCallback } from "react";
import { useSearchParams } from "wouter";
import { useAllFindings } from "@/api/queries";
import { AllFindings } from "@/components/findings/all-findings";
import { levels } from "@/components/findings/level";
import { LevelSelect } from "@/components/findings/level-select";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { byId, useArrival } from "@/hooks/focus";
import { useSessionsStream } from "@/hooks/sessions-stream";

const levelId = "finding-level";

/** What the detection rules found in all sessions. */
export default function FindingsPage() {
  const [params, setParams] = useSearchParams();
  const level = levels.find((one) => one === params.get("level"));
  const { data, error, isPending, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } =
    useAllFindings(level);
  useSessionsStream();
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  useArrival(
    data !== undefined,
    () => document.querySelector<HTMLElement>("[role=grid] [role=row][tabindex='0']") ?? byId(levelId),
  );
  const findings = data?.pages.flatMap((page) => page.findings) ?? [];
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h1 className="mr-2 flex-1 text-base font-semibold">Findings</h1>
        <LevelSelect
          id={levelId}
          label="Level"
          any="Any level"
          level={level}
          onChange={(chosen) => setParams(chosen ? { level: chosen } : {}, { replace: true })}
        />
      </div>
      {isPending && <LoadingState label="Loading the findings" />}
      {!isPending && !data && <ErrorState error={error} retry={() => void refetch()} />}
      {data && findings.length === 0 && (
        <EmptyState
          icon={<ShieldAlert size={28} />}
          title={level ? "No findings of this level" : "No findings"}
        >
          The rules are applied to the events of all sessions. A program can do harm without a finding.
        </EmptyState>
      )}
      {findings.length > 0 && <AllFindings findings={findings} onEnd={onEnd} />}
    </>
  );
}
