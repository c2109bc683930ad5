import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import type { ComponentProps } from "react";
import { afterEach, expect, test, vi } from "vitest";
import type { SessionDetail } from "@/api/client";
import { ShortcutProvider } from "@/hooks/shortcuts";
import { phrasesOf } from "./headline";
import { atHome } from "./sentence";
import { Story } from "./story";

afterEach(cleanup);

type Props = ComponentProps<typeof Story>;

const step: Props["steps"][number] = {
  kind: "wrote",
  class: "persistence",
  parts: [
    { text: "<b>evil\u202e", as: "program" },
    { text: " wrote ", as: "" },
    { text: "/home/a/.bashrc", as: "path" },
    { text: " (", as: "" },
    { text: "2048", as: "bytes" },
    { text: ")", as: "" },
  ],
  findings: [1, 0],
  ordinary: false,
  pid: 7,
  objects: 1,
  events: 30,
  seqs: [4, 5],
  first_at: "2026-11-22T18:57:39Z",
  last_at: "2026-11-22T18:57:40Z",
  first_seq: 4,
  last_seq: 90,
};

const none = { count: 0, seqs: [] };
const counts = {
  processes: 1,
  downloaded_and_run: none,
  startup_changes: { count: 2, seqs: [4, 5] },
  secrets_refused: none,
  secrets_read: none,
  destinations: none,
  own_deletions: { count: 1, seqs: [9] },
};

const story: Props["story"] = {
  steps: [step],
  ordinary_steps: 0,
  left_out_events: 0,
  counts,
  sections: [],
  home: "/home/a",
  findings: [
    {
      rule_id: "r",
      title: "A start-up file was changed",
      level: "high",
      events: 2,
      failed_count: 0,
      root_path: null,
    },
    {
      rule_id: "q",
      title: "<i>hostile</i>",
      level: "low",
      events: 1,
      failed_count: 1,
      root_path: "/srv/\u202ejail",
    },
  ],
  up_to_seq: 90,
  rules_up_to_seq: 90,
  event_count: 90,
};

test("a step shows values as values, its findings, and leads to its events", () => {
  const choose = vi.fn();
  const { container } = render(
    <ShortcutProvider>
      <Story sessionId="s" story={story} steps={[step]} seq={undefined} onChoose={choose} />
    </ShortcutProvider>,
  );
  expect(container.querySelector("b, i")).toBeNull();
  expect(container.querySelector("[data-hidden]")).not.toBeNull();
  const item = screen.getByRole("listitem");
  expect(item.textContent).toContain("wrote ~/.bashrc (2.0 KB)");
  expect(item.textContent?.indexOf("A start-up file was changed")).toBeLessThan(
    item.textContent?.indexOf("hostile") ?? 0,
  );
  expect(item.textContent).toContain("low Attempt failed <i>hostile</i>");
  expect(item.textContent).toContain("high A start-up file was changed");
  const link = screen.getByRole("link", { name: "30 events" });
  expect(link.getAttribute("href")).toBe("/sessions/s/events?filter=seq+in+%284%2C+5%29");
  expect(link.getAttribute("title")).toBe("The first 2 of 30 events");
  fireEvent.click(screen.getByRole("button"));
  expect(choose).toHaveBeenCalledWith(4);
});

test("a path is shown from the home folder", () => {
  expect(atHome("/home/a/x", "/home/a")).toBe("~/x");
  expect(atHome("/home/ab", "/home/a")).toBe("/home/ab");
  expect(atHome("/x", "")).toBe("/x");
  expect(atHome("/x", "/")).toBe("/x");
});

test("the first line has only what applies", () => {
  const session = {
    id: "s",
    state: "ended",
    end: { reason: "exited", exitCode: 3, signal: null },
    monitoring_started: "2026-11-22T18:57:39Z",
    monitoring_ended: "2026-11-22T18:57:53.8Z",
  } as unknown as SessionDetail;
  expect(phrasesOf(session, counts).map(({ text }) => text)).toEqual([
    "Ran 14.80 s, exit code 3",
    "1 process started",
    "2 start-up files changed",
    "deleted itself",
  ]);
  const none = phrasesOf(session, { ...counts, processes: 0 }).map(({ text }) => text);
  expect(none.some((text) => text.includes("process"))).toBe(false);
});
