import type { Rule } from "@/api/client";
import { levels } from "@/components/findings/level";

export const ruleStates: Record<Rule["state"], string> = {
  running: "Running",
  off: "Off",
  cannot_run: "Cannot run",
  broken: "Broken",
};

export const ruleSources: Record<Rule["source"], string> = {
  "OS-Pulse": "OS-Pulse",
  RULES_DIR: "RULES_DIR",
  user: "Users",
};

/** Which rules are listed. It is all in the address; a part that is empty selects all. */
export interface RuleSearch {
  text: string;
  state: string;
  source: string;
  level: string;
  kind: string;
}

const parameters = ["text", "state", "source", "level", "kind"] as const;

export function readSearch(params: URLSearchParams): RuleSearch {
  const of = (name: (typeof parameters)[number]) => params.get(name) ?? "";
  return { text: of("text"), state: of("state"), source: of("source"), level: of("level"), kind: of("kind") };
}

/** Writes the search into the parameters of an address. It keeps all other parameters. */
export function writeSearch(params: URLSearchParams, search: RuleSearch): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const name of parameters) {
    if (search[name]) next.set(name, search[name]);
    else next.delete(name);
  }
  return next;
}

/** The rules that the search selects. Each word of its text must be in a rule, regardless of case. */
export function searchRules(rules: readonly Rule[], search: RuleSearch): Rule[] {
  const words = search.text.toLowerCase().split(/\s+/).filter(Boolean);
  return rules.filter((rule) => {
    if (search.state && rule.state !== search.state) return false;
    if (search.source && rule.source !== search.source) return false;
    if (search.level && rule.level !== search.level) return false;
    if (search.kind && rule.kind !== search.kind) return false;
    if (words.length === 0) return true;
    const text = [rule.title, rule.rule_id, rule.path, rule.author, rule.log_source, ...rule.tags]
      .join("\n")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

const orders: Record<string, (a: Rule, b: Rule) => number> = {
  rule: (a, b) => titleOf(a).localeCompare(titleOf(b), "en"),
  level: (a, b) => rank(a) - rank(b),
};

/** The place of the rule's level. Rules without a level come last. */
function rank({ level }: Rule): number {
  return level === "" ? levels.length : levels.indexOf(level);
}

/** The rules in the order of a column; by source and path if the column has no order. */
export function sortRules(rules: readonly Rule[], column: string | undefined): readonly Rule[] {
  const order = orders[column ?? ""];
  return order ? rules.toSorted(order) : rules;
}

/** The rule's title. Of a broken rule only the path or the ID is known. */
export function titleOf(rule: Pick<Rule, "title" | "path" | "rule_id">): string {
  return rule.title || rule.path || rule.rule_id;
}

/** The techniques of ATT&CK that tags name, as the rule wrote them: ["T1059.004"]. */
export function techniquesOf(tags: readonly string[]): string[] {
  return tags.flatMap((tag) => /^attack\.(t\d{4}(?:\.\d{3})?)$/i.exec(tag)?.[1]?.toUpperCase() ?? []);
}

/** Why a rule is not applied, or without what it is; "" if neither. */
export function limitOf({ error, needs, state }: Pick<Rule, "error" | "needs" | "state">): string {
  if (error !== null) return error;
  if (needs.length === 0) return "";
  return `${state === "cannot_run" ? "Needs" : "Runs without"} ${needs.join(", ")}`;
}

/** The address of the page of a rule. The ID is no part of the path, because it may have any characters. */
export function rulePath(ruleId: string): string {
  return `/rules/rule?id=${encodeURIComponent(ruleId)}`;
}

/** The address of a new rule, on request with the text of another. */
export function newRulePath(copied?: string): string {
  return copied === undefined ? "/rules/new" : `/rules/new?copy=${encodeURIComponent(copied)}`;
}
