import { useState } from "react";
import { Link, useLocation } from "wouter";
import type { Rule } from "@/api/client";
import { LevelBadge } from "@/components/findings/level-badge";
import { SafeText } from "@/components/safe-text";
import { Grid } from "@/components/table/grid";
import type { TableColumn } from "@/components/table/table";
import { RuleSwitch } from "./rule-switch";
import { limitOf, rulePath, ruleSources, ruleStates, sortRules, techniquesOf, titleOf } from "./rules";

const stateLooks: Record<Rule["state"], string> = {
  running: "text-good",
  off: "text-muted",
  cannot_run: "text-warn",
  broken: "text-bad",
};

/** What became of a rule. */
export function RuleState({ state }: Pick<Rule, "state">) {
  return <span className={`font-medium ${stateLooks[state]}`}>{ruleStates[state]}</span>;
}

/** The level of a rule; a routine rule makes no findings, so that it has none. */
export function RuleLevel({ level, kind }: Pick<Rule, "level" | "kind">) {
  if (kind === "routine") return <span className="text-muted">routine</span>;
  return level === "" ? "–" : <LevelBadge level={level} />;
}

const columns: readonly TableColumn<Rule>[] = [
  {
    id: "on",
    label: "Applied",
    width: 52,
    phone: 50,
    isBare: true,
    cell: (rule) => <RuleSwitch rule={rule} />,
  },
  {
    id: "level",
    label: "Level",
    width: 104,
    phone: 92,
    sort: "ascending",
    cell: (rule) => <RuleLevel {...rule} />,
  },
  {
    id: "rule",
    label: "Rule",
    width: 260,
    grow: "1fr",
    phone: 0,
    sort: "ascending",
    cell: (rule) => <Title rule={rule} />,
  },
  { id: "state", label: "State", width: 96, cell: (rule) => <RuleState {...rule} /> },
  {
    id: "source",
    label: "Source",
    width: 100,
    look: "text-muted",
    cell: ({ source }) => ruleSources[source],
  },
  {
    id: "techniques",
    label: "ATT&CK",
    width: 180,
    look: "font-mono text-muted",
    cell: ({ tags }) => <SafeText text={techniquesOf(tags).join(" ")} limit={200} />,
  },
];

function Title({ rule }: { rule: Rule }) {
  const limit = limitOf(rule);
  return (
    <>
      <Link
        href={rulePath(rule.rule_id)}
        data-rule={rule.rule_id}
        className="block truncate font-medium hover:text-accent"
      >
        <SafeText text={titleOf(rule)} limit={200} />
      </Link>
      <span
        className={`block truncate text-muted ${rule.state === "broken" ? "text-bad!" : rule.state === "cannot_run" ? "text-warn!" : ""}`}
      >
        <SafeText text={limit || rule.log_source} limit={300} />
      </span>
    </>
  );
}

/** The rules. The reader turns them on and off here, and opens one. */
export function RuleTable({ rules }: { rules: readonly Rule[] }) {
  const [chosen, setChosen] = useState<string>();
  const [sort, setSort] = useState<string>();
  const [, navigate] = useLocation();
  return (
    <Grid
      label="Rules"
      one="rule"
      name="rules"
      columns={columns}
      rows={sortRules(rules, sort)}
      keyOf={(rule) => rule.rule_id}
      rowHeight={44}
      sort={sort}
      onSort={(column) => setSort(column === sort ? undefined : column)}
      chosen={chosen}
      onChoose={(rule) => setChosen(rule?.rule_id)}
      onOpen={(rule) => navigate(rulePath(rule.rule_id))}
    />
  );
}
