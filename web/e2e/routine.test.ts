import type { PostedEvent } from "./harness";
import { countText, openView, rows } from "./pages";
import { expect, test } from "./test";

function file(operation: string, filePath: string, program = "cat", processId = 7): PostedEvent {
  return {
    event_type: "file_operation",
    timestamp: "2026-11-22T18:57:39Z",
    source: "os-pulse-agent",
    data: { operation, filePath, status: 3, metadata: { processName: program, processId } },
  };
}

function request(agent: string, processId: number): PostedEvent {
  return {
    event_type: "http_network_operation",
    timestamp: "2026-11-22T18:57:40Z",
    source: "os-pulse-agent",
    data: {
      kind: "request",
      flow_id: String(processId),
      request: {
        method: "GET",
        scheme: "http",
        host: "example.com",
        port: 80,
        path: `/${processId}`,
        url: `http://example.com/${processId}`,
        headers: { "User-Agent": agent },
      },
      role: "client",
      metadata: { processName: "python3", processId },
    },
  };
}

test("routine events are hidden by a button and a key, and counted by rule", async ({ backend, page }) => {
  const session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, [
    file("OpenFile", "/etc/ld.so.cache"),
    file("OpenFile", "/home/a"),
    file("OpenFile", "/etc/shadow"),
    file("CloseFile", "/home/a"),
    file("CloseFile", "/home/b", "sh", 8),
  ]);
  await openView(page, session, "events");
  await countText(page).getByText("5 events").waitFor();
  const button = page.getByRole("button", { name: "Hide routine events" });
  expect(await button.getAttribute("aria-pressed")).toBe("false");
  await button.click();
  const hidden = page.getByRole("button", { name: "3 routine events hidden" });
  await hidden.waitFor();
  await countText(page).getByText("2 events selected").waitFor();
  expect(new URL(page.url()).searchParams.get("routine")).toBe("hidden");

  // It is the selection of all views, and shared by the address.
  await openView(page, session, "files", "?routine=hidden");
  await hidden.waitFor();
  expect(await rows(page, "files").count()).toBe(2);
  await page.locator("body").press("h");
  await hidden.waitFor({ state: "hidden" });
  await rows(page, "files").nth(3).waitFor();
  await page.locator("body").press("h");

  await hidden.click();
  await page.getByRole("menuitem", { name: "A program closed or copied a handle 2" }).waitFor();
  await page.getByRole("menuitem", { name: /1$/ }).click();
  await countText(page).getByText("1 event selected").waitFor();
  expect(new URL(page.url()).searchParams.get("filter")).toMatch(/^routine = /);
  await rows(page, "events").getByText("/etc/ld.so.cache", { exact: true }).waitFor();
});

test("events of findings are marked in rows, on the timeline and in the process tree", async ({
  backend,
  page,
}) => {
  const session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, [
    file("OpenFile", "/home/a", "sh", 8),
    file("OpenFile", "/etc/shadow"),
    file("OpenFile", "/home/b", "sh", 8),
  ]);
  const text = "Finding, high: A program read the password hashes";
  await openView(page, session, "events");
  const marked = rows(page, "events").filter({ hasText: text });
  await marked.waitFor();
  expect(await marked.count()).toBe(1);
  await marked.getByText("/etc/shadow", { exact: true }).waitFor();
  await marked.getByTitle(text).waitFor();
  // The cursor on the row says it, too.
  await page.getByRole("grid", { name: "Events" }).focus();
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("ArrowDown");
  await page.locator("p").getByText("high: A program read the password hashes", { exact: true }).waitFor();

  const plot = page.getByRole("slider", { name: "Span of time" });
  await expect.poll(() => plot.getAttribute("aria-valuetext")).toContain(`Findings, high: A program read`);

  await openView(page, session, "processes");
  const process = rows(page, "processes").filter({ hasText: "Finding, high" });
  await process.waitFor();
  expect(await process.count()).toBe(1);
  await process.getByText("cat").waitFor();

  await backend.postEvents(session, [request("python-requests/2.31", 9), request("Mozilla/5.0", 10)]);
  await openView(page, session, "http");
  await rows(page, "http").nth(1).waitFor();
  const found = rows(page, "http").filter({ hasText: "Finding, informational" });
  await found.waitFor();
  expect(await found.count()).toBe(1);
});
