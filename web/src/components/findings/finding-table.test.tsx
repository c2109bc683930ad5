import { render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ShortcutProvider } from "@/hooks/shortcuts";
import { type Finding, FindingTable } from "./finding-table";

const finding: Finding = {
  rule_id: "a",
  rule_version: "1",
  title: "A program <b>read</b> secrets",
  level: "high",
  tags: ["attack.credential-access", "attack.t1003.008", "attack.t9999", "cve.2026.1"],
  tactics: ["credential-access"],
  techniques: [
    {
      id: "T1003.008",
      name: "/etc/passwd and /etc/shadow",
      parent_id: "T1003",
      parent_name: "OS Credential Dumping",
      state: "current",
      tagged_as: null,
      tactics: ["credential-access"],
    },
    {
      id: "T9999",
      name: "",
      parent_id: null,
      parent_name: null,
      state: "unknown",
      tagged_as: null,
      tactics: [],
    },
  ],
  author: "",
  license: "",
  events: 500,
  failed_count: 0,
  root_path: null,
  seqs: Array.from({ length: 500 }, (_, i) => i + 1),
  first_at: "2026-11-22T18:57:39.967551Z",
  last_at: "2026-11-22T18:57:40Z",
  pid: 7,
  process_name: "cat",
  target: "/etc/shadow\u202e",
  imported: true,
};

// Without a height, no row would be in sight.
beforeEach(() => void vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(600));
afterEach(() => vi.restoreAllMocks());

test("a finding shows its values as values, and links to its events", () => {
  render(
    <ShortcutProvider>
      <FindingTable sessionId="s" findings={[finding]} onChoose={vi.fn()} />
    </ShortcutProvider>,
  );
  expect(screen.getByText("A program <b>read</b> secrets")).toBeTruthy();
  expect(screen.getByText("high")).toBeTruthy();
  expect(screen.getByText("imported")).toBeTruthy();
  expect(screen.getByText("T1003.008 T9999")).toBeTruthy();
  expect(document.body.textContent).not.toContain("\u202e");
  const link = screen.getByRole("link", { name: "500 events" });
  expect(link.getAttribute("href")).toBe("/sessions/s/events?filter=finding+%3D+%27a%27");
});

test("a finding of events that failed says so before its title", () => {
  const findings = [
    { ...finding, rule_id: "all", failed_count: 500 },
    { ...finding, rule_id: "one", events: 1, failed_count: 1 },
    { ...finding, rule_id: "some", events: 1500, failed_count: 1499 },
    { ...finding, rule_id: "none" },
  ];
  render(
    <ShortcutProvider>
      <FindingTable sessionId="s" findings={findings} onChoose={vi.fn()} />
    </ShortcutProvider>,
  );
  const title = "A program <b>read</b> secrets";
  const cells = screen.getAllByText(title).map((text) => text.closest("[role=gridcell]"));
  expect(cells.map((cell) => cell?.textContent)).toEqual(
    [`Attempt failed ${title}`, `Attempt failed ${title}`, `1,499 of 1,500 failed ${title}`, title].map(
      (text) => `${text}imported`,
    ),
  );
  expect(cells.map((cell) => cell?.querySelector("[title]")?.getAttribute("title"))).toEqual([
    "All 500 matching events failed, for example with permission denied.",
    "The matching event failed, for example with permission denied.",
    "1,499 of 1,500 matching events failed, for example with permission denied.",
    "A rule of the backend that exported this session found it",
  ]);
});
