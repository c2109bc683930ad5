import { ArrowLeft } from "lucide-react";
import type { ReactNode } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { useRule } from "@/api/queries";
import { copyOf, newText } from "@/components/rules/draft";
import { RuleFacts } from "@/components/rules/rule-facts";
import { RuleForm } from "@/components/rules/rule-form";
import { titleOf } from "@/components/rules/rules";
import { SafeText } from "@/components/safe-text";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { byId, useArrival } from "@/hooks/focus";

/** A rule with its text, or a new rule: an empty one, or a copy of another. */
export default function RulePage() {
  const [location] = useLocation();
  const params = new URLSearchParams(useSearch());
  const copied = params.get("copy");
  const id = params.get("id") ?? "";
  useArrival(true, () => byId(backId));
  if (location !== "/rules/new") return <StoredRule key={id} ruleId={id} />;
  return copied === null ? (
    <Page title="New rule">
      <RuleForm start={newText} draftName="new" />
    </Page>
  ) : (
    <CopiedRule key={copied} ruleId={copied} />
  );
}

const backId = "rule-back";

function StoredRule({ ruleId }: { ruleId: string }) {
  const rule = useRule(ruleId);
  return (
    <Page title={rule.data && <SafeText text={titleOf(rule.data)} limit={200} />}>
      {rule.data ? (
        <RuleForm rule={rule.data} draftName={`of ${ruleId}`}>
          <RuleFacts rule={rule.data} />
        </RuleForm>
      ) : (
        <NoRule {...rule} />
      )}
    </Page>
  );
}

function CopiedRule({ ruleId }: { ruleId: string }) {
  const rule = useRule(ruleId);
  return (
    <Page title="Copy of a rule">
      {rule.data ? (
        <RuleForm start={copyOf(rule.data.text)} draftName={`copy of ${ruleId}`} />
      ) : (
        <NoRule {...rule} />
      )}
    </Page>
  );
}

function NoRule({
  isPending,
  error,
  refetch,
}: Pick<ReturnType<typeof useRule>, "isPending" | "error" | "refetch">) {
  return isPending ? (
    <LoadingState label="Loading the rule" />
  ) : (
    <ErrorState error={error} retry={() => void refetch()} />
  );
}

function Page({ title, children }: { title: ReactNode; children: ReactNode }) {
  return (
    <>
      <div className="flex items-center gap-3 border-b border-line bg-surface px-4 py-2">
        <Link id={backId} href="/rules" className="flex items-center gap-1 rounded text-muted hover:text-ink">
          <ArrowLeft size={15} aria-hidden /> Rules
        </Link>
        <h1 className="min-w-0 flex-1 truncate text-base font-semibold">{title}</h1>
      </div>
      {children}
    </>
  );
}
