import { Plus, SearchX } from "lucide-react";
import { Link, useSearchParams } from "wouter";
import { useRules } from "@/api/queries";
import { ForRole } from "@/components/for-role";
import { RuleSearchBar, searchId } from "@/components/rules/rule-search";
import { RuleTable } from "@/components/rules/rule-table";
import {
  newRulePath,
  type RuleSearch,
  readSearch,
  ruleStates,
  searchRules,
  writeSearch,
} from "@/components/rules/rules";
import { buttonClass } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { byId, useArrival } from "@/hooks/focus";
import { formatCount, plural } from "@/lib/number";

/** The detection rules of all sources. */
export default function RulesPage() {
  const [params, setParams] = useSearchParams();
  const search = readSearch(params);
  const change = (next: RuleSearch) => setParams((now) => writeSearch(now, next), { replace: true });
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h1 className="mr-2 text-base font-semibold max-sm:flex-1">Rules</h1>
        <RuleSearchBar search={search} onChange={change} />
        <ForRole least="admin">
          <Link href={newRulePath()} className={buttonClass({ look: "primary" })}>
            <Plus size={15} aria-hidden /> New rule
          </Link>
        </ForRole>
      </div>
      <List search={search} />
    </>
  );
}

function List({ search }: { search: RuleSearch }) {
  const { data: rules, error, isPending, refetch } = useRules();
  useArrival(
    rules !== undefined,
    () => document.querySelector<HTMLElement>("[role=grid] [role=row][tabindex='0']") ?? byId(searchId),
  );
  if (isPending) return <LoadingState label="Loading the rules" />;
  if (!rules) return <ErrorState error={error} retry={() => void refetch()} />;
  const found = searchRules(rules, search);
  if (found.length === 0) {
    return (
      <EmptyState icon={<SearchX size={28} />} title="No matching rules">
        The search finds text in titles, IDs, tags, authors, log sources and paths.
      </EmptyState>
    );
  }
  const states = Object.entries(ruleStates).flatMap(([state, name]) => {
    const count = found.filter((rule) => rule.state === state).length;
    return count === 0 ? [] : [`${formatCount(count)} ${name.toLowerCase()}`];
  });
  return (
    <>
      <p role="status" className="border-b border-line px-4 py-1.5 text-xs text-muted">
        {plural(found.length, "rule")}: {states.join(", ")}.
      </p>
      <RuleTable rules={found} />
    </>
  );
}
