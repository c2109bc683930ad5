import { render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ListedFinding } from "@/api/client";
import { ShortcutProvider } from "@/hooks/shortcuts";
import { AllFindings } from "./all-findings";

const finding: ListedFinding = {
  session_id: "s",
  session_name: "",
  file_name: "a.sh",
  rule_id: "a",
  rule_version: "1",
  title: "A program read the password hashes",
  level: "high",
  tags: [],
  tactics: [],
  techniques: [],
  author: "",
  license: "",
  events: 3,
  failed_count: 3,
  root_path: "/",
  first_at: "2026-11-22T18:57:39Z",
  last_at: "2026-11-22T18:57:40Z",
  pid: 7,
  process_name: "cat",
  target: "/etc/shadow",
  imported: false,
};

// Without a height, no row would be in sight.
beforeEach(() => void vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(600));
afterEach(() => vi.restoreAllMocks());

test("a finding of events that failed says so in the link to its session", () => {
  const findings = [finding, { ...finding, rule_id: "b", failed_count: 2 }];
  render(
    <ShortcutProvider>
      <AllFindings findings={findings} onEnd={vi.fn()} />
    </ShortcutProvider>,
  );
  for (const name of [`Attempt failed ${finding.title}`, `2 of 3 failed ${finding.title}`]) {
    expect(screen.getByRole("link", { name }).getAttribute("href")).toBe("/sessions/s/findings");
  }
});

test("a finding in another root says so after its target", () => {
  const findings = [
    { ...finding, rule_id: "own", root_path: null, target: "/own" },
    { ...finding, rule_id: "jail", root_path: "/srv/<b>jail\u202e", target: "/jailed" },
    { ...finding, rule_id: "container", target: "/contained" },
  ];
  render(
    <ShortcutProvider>
      <AllFindings findings={findings} onEnd={vi.fn()} />
    </ShortcutProvider>,
  );
  const cells = screen.getAllByRole("gridcell").map((cell) => cell.textContent);
  expect(cells.filter((text) => /^\/(own|jailed|contained)/.test(text ?? ""))).toEqual([
    "/own",
    "/jailed in the root /srv/<b>jail⟨202E⟩",
    "/contained in another mount namespace",
  ]);
});
