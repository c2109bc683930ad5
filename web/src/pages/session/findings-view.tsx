import { ShieldAlert } from "lucide-react";
import { useSearchParams } from "wouter";
import { AttackStrip } from "@/components/attack/attack-strip";
import { isOf, useAttackMatrix } from "@/components/attack/matrix";
import { FindingTable } from "@/components/findings/finding-table";
import { SafeText } from "@/components/safe-text";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useFindings } from "@/hooks/findings";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { formatCount, plural } from "@/lib/number";

/** What the detection rules found in all events of the session. */
export default function FindingsView() {
  const { sessionId } = useSessionStream();
  const { view, filter, change } = useView();
  const found = useFindings();
  const all = found.data?.findings ?? [];
  const matrix = useAttackMatrix(
    sessionId,
    `${all.length} ${all.reduce((sum, { events }) => sum + events, 0)}`,
  );
  const [attack, chooseAttack] = useChosenAttack();
  if (found.isPending) return <LoadingState label="Loading the findings" />;
  if (!found.data) return <ErrorState error={found.error} retry={() => void found.refetch()} />;
  const { up_to_seq, event_count } = found.data;
  const findings = attack === undefined ? all : all.filter((finding) => isOf(finding, attack));
  const state =
    up_to_seq < event_count
      ? `The rules have been applied to ${formatCount(up_to_seq)} of ${plural(event_count, "event")}.`
      : `The rules have been applied to ${event_count === 1 ? "the" : "all"} ${plural(event_count, "event")}.`;
  if (all.length === 0) {
    return (
      <EmptyState icon={<ShieldAlert size={28} />} title="No findings">
        {state} A program can do harm without a finding.
      </EmptyState>
    );
  }
  const chosen = findings.find(({ seqs }) => view.seq !== undefined && seqs.includes(view.seq));
  return (
    <>
      {matrix.data && (
        <AttackStrip sessionId={sessionId} matrix={matrix.data} chosen={attack} onChoose={chooseAttack} />
      )}
      <p className="border-b border-line px-3 py-1.5 text-xs text-muted">
        {attack === undefined ? (
          <>{plural(all.length, "finding")}. </>
        ) : (
          <>
            {formatCount(findings.length)} of {plural(all.length, "finding")}, those of{" "}
            <SafeText text={attack} limit={60} />.{" "}
            <button type="button" className="text-accent underline" onClick={() => chooseAttack(undefined)}>
              Show all findings
            </button>{" "}
          </>
        )}
        {state}
        {filter !== "" && " The filter, the chosen process and the span do not apply here."}
      </p>
      <FindingTable
        sessionId={sessionId}
        findings={findings}
        chosen={chosen?.rule_id}
        onChoose={(finding) => change({ seq: finding?.seqs[0] })}
      />
    </>
  );
}

/** The technique or tactic in the address of the page, of which the findings are shown. */
function useChosenAttack(): [string | undefined, (id: string | undefined) => void] {
  const [params, setParams] = useSearchParams();
  return [
    params.get("attack") ?? undefined,
    (id) =>
      setParams(
        (now) => {
          const next = new URLSearchParams(now);
          if (id === undefined) next.delete("attack");
          else next.set("attack", id);
          return next;
        },
        { replace: true },
      ),
  ];
}
