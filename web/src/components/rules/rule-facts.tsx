import type { ReactNode } from "react";
import type { Rule } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { RuleSwitch } from "./rule-switch";
import { RuleLevel, RuleState } from "./rule-table";
import { limitOf, ruleSources } from "./rules";

/** What is known of a rule besides its text, and the switch that turns it on and off. */
export function RuleFacts({ rule }: { rule: Rule }) {
  const limit = limitOf(rule);
  return (
    <dl className="grid grid-cols-[auto_minmax(0,1fr)] items-baseline gap-x-4 gap-y-1 text-xs">
      <Fact name="Applied">
        <span className="inline-flex items-center gap-2 align-middle">
          <RuleSwitch rule={rule} /> <RuleState {...rule} />
        </span>
        {limit && <SafeText text={limit} className="break-words" />}
      </Fact>
      <Fact name="Level">
        <RuleLevel {...rule} />
      </Fact>
      <Fact name="Source">
        {ruleSources[rule.source]}
        {rule.path && (
          <SafeText text={`: ${rule.path}`} limit={300} className="font-mono break-all text-muted" />
        )}
      </Fact>
      {rule.author && (
        <Fact name="Author">
          <SafeText text={rule.author} limit={300} className="break-words" />
          {rule.license && <SafeText text={`, ${rule.license}`} limit={300} className="text-muted" />}
        </Fact>
      )}
      {rule.log_source && (
        <Fact name="Log source">
          <SafeText text={rule.log_source} limit={300} className="break-words" />
        </Fact>
      )}
      {rule.tags.length > 0 && (
        <Fact name="Tags">
          <SafeText text={rule.tags.join(", ")} limit={1000} className="break-words" />
        </Fact>
      )}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-muted">{name}</dt>
      <dd className="min-w-0">{children}</dd>
    </>
  );
}
