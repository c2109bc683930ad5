import { expect, test } from "vitest";
import type { Rule } from "@/api/client";
import {
  limitOf,
  readSearch,
  rulePath,
  searchRules,
  sortRules,
  techniquesOf,
  titleOf,
  writeSearch,
} from "./rules";

function rule(change: Partial<Rule>): Rule {
  return {
    rule_id: "id",
    rule_version: "1",
    enabled: true,
    source: "OS-Pulse",
    path: "linux/a.yml",
    state: "running",
    error: null,
    needs: [],
    kind: "detection",
    title: "A title",
    level: "high",
    tags: [],
    author: "",
    license: "",
    log_source: "product linux",
    condition: "",
    ...change,
  };
}

const all = [
  rule({ rule_id: "1", title: "Shell of a web server", tags: ["attack.t1505.003"] }),
  rule({ rule_id: "2", title: "Secrets are read", level: "medium", state: "off", enabled: false }),
  rule({ rule_id: "3", title: "Libraries", level: "", kind: "routine" }),
  rule({ rule_id: "4", title: "", path: "b.yml", source: "RULES_DIR", state: "broken", level: "", kind: "" }),
  rule({ rule_id: "5", title: "A log-on", source: "user", path: "", state: "cannot_run", level: "critical" }),
];
const ids = (rules: readonly Rule[]) => rules.map(({ rule_id }) => rule_id).join("");
const find = (search: string) => ids(searchRules(all, readSearch(new URLSearchParams(search))));

test("rules are found by every word of the text, and by each filter", () => {
  expect(find("")).toBe("12345");
  expect(find("text=WEB+shell")).toBe("1");
  expect(find("text=t1505")).toBe("1");
  expect(find("text=web+secrets")).toBe("");
  expect(find("text=b.yml")).toBe("4");
  expect(find("state=off")).toBe("2");
  expect(find("state=cannot_run")).toBe("5");
  expect(find("source=RULES_DIR")).toBe("4");
  expect(find("level=high")).toBe("1");
  expect(find("kind=routine")).toBe("3");
  expect(find("kind=detection&source=user")).toBe("5");
});

test("the search is in the address, with what else is there", () => {
  const params = new URLSearchParams("x=1&level=high");
  const next = writeSearch(params, { ...readSearch(params), text: "a b", level: "" });
  expect(next.toString()).toBe("x=1&text=a+b");
});

test("rules are sorted by level and title; otherwise they keep their order", () => {
  expect(ids(sortRules(all, "level"))).toBe("51234");
  expect(ids(sortRules(all, "rule"))).toBe("54321");
  expect(sortRules(all, "state")).toBe(all);
});

test("a rule says why it is not applied", () => {
  expect(limitOf(rule({}))).toBe("");
  expect(limitOf(rule({ state: "cannot_run", needs: ["LogonId", "Hashes"] }))).toBe("Needs LogonId, Hashes");
  expect(limitOf(rule({ needs: ["LogonId"] }))).toBe("Runs without LogonId");
  expect(limitOf(rule({ state: "broken", error: "line 3: unknown modifier" }))).toBe(
    "line 3: unknown modifier",
  );
});

test("a broken rule has its path for a title, else its ID", () => {
  expect(titleOf(rule({}))).toBe("A title");
  expect(titleOf(rule({ title: "" }))).toBe("linux/a.yml");
  expect(titleOf(rule({ title: "", path: "" }))).toBe("id");
});

test("techniques are read from the tags", () => {
  expect(
    techniquesOf(["attack.T1059.004", "attack.execution", "cve.2021", "attack.t1003", "attack.t10031"]),
  ).toEqual(["T1059.004", "T1003"]);
});

test("the address of a rule keeps any ID", () => {
  const id = "RULES_DIR/a b/50%2F?&#.yml";
  expect(new URL(rulePath(id), "http://host").searchParams.get("id")).toBe(id);
});
