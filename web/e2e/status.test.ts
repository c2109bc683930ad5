import { spawn } from "node:child_process";
import type { Page, Route } from "playwright-core";
import { onTestFinished } from "vitest";
import { countText, openView, rows, runFilter, viewPath } from "./pages";
import { expect, test } from "./test";

// What the dashboard says about sessions and the connection is true, and nothing beside it contradicts it.
test.beforeAll(({ backend }) => backend.startAgent());

function written(filePath: string, operation = "WriteFile") {
  const metadata = { processName: "writer", processId: 4711 };
  return {
    event_type: "file_operation",
    timestamp: new Date().toISOString(),
    source: "os-pulse-agent",
    data: { operation, filePath, metadata },
  };
}
const writes = (n: number, path: string) => Array.from({ length: n }, (_, i) => written(`${path}-${i + 1}`));

/** Holds the answers of a path until the returned function is called. */
async function hold(page: Page, path: RegExp): Promise<() => Promise<void>> {
  const held: Route[] = [];
  let isHolding = true;
  await page.route(path, (route) => {
    if (!isHolding) return route.continue();
    held.push(route);
  });
  return async () => {
    isHolding = false;
    for (const route of held) await route.continue().catch(() => {}); // the page may have cancelled it
  };
}

test("a backend whose events arrive is reachable, and one that is unreachable is not live", async ({
  page,
  faults,
  backend,
}) => {
  faults.allow(/^console: Failed to load resource: net::ERR_FAILED/);
  await backend.postEvents("unassigned", writes(3, "/tmp/first"));
  await openView(page, "unassigned", "events");
  const live = page.getByText("Live", { exact: true });
  await live.waitFor();
  const banner = page.getByRole("alert").filter({ hasText: /cannot be reached|has been unreachable/ });

  // The health fails each time, but an event has arrived since it was requested.
  let rounds = 0;
  let isSending = true;
  await page.route("**/api/health", async (route) => {
    if (isSending) {
      const name = `/tmp/contact-${++rounds}`;
      await backend.postEvents("unassigned", [written(name)]);
      await rows(page, "events").getByText(name, { exact: true }).waitFor();
    }
    await route.abort();
  });
  await expect.poll(() => rounds).toBeGreaterThan(3);
  expect(await banner.count()).toBe(0);
  expect(await live.count()).toBe(1);

  isSending = false;
  await banner.getByText(/since \d\d:\d\d:\d\d\./).waitFor();
  await page.getByText("Not connected", { exact: true }).waitFor();
  expect(await live.count()).toBe(0);

  await backend.postEvents("unassigned", [written("/tmp/again")]);
  await banner.waitFor({ state: "detached" });
  await live.waitFor();
});

test("all counts of a session agree while the backend counts slowly", async ({ page, backend }) => {
  const session = await backend.createSession("counted.sh", "true");
  await backend.postEvents(session, [...writes(10, "/tmp/a"), written("/tmp/r", "ReadFile")]);
  await openView(page, session, "events");
  await page.getByRole("button", { name: "11 of 11 events, none lost" }).waitFor();
  const timeline = page.getByRole("region", { name: "Timeline" });
  await timeline.getByText("11 events", { exact: true }).waitFor();

  const release = await hold(page, /\/api\/sessions\/[^/]+(\/histogram.*)?$/);
  await backend.postEvents(session, writes(20, "/tmp/b"));
  await countText(page).getByText("31 events", { exact: true }).waitFor();
  await timeline.getByText("31 events", { exact: true }).waitFor();
  await page.getByRole("button", { name: "31 events, none lost up to event 11" }).waitFor();
  await page.getByRole("button", { name: /^Files\s*31$/ }).waitFor();
  await release();
  await page.getByRole("button", { name: "31 of 31 events, none lost" }).waitFor();

  await runFilter(page, "operation = WriteFile");
  await countText(page).getByText("30 events selected", { exact: true }).waitFor();
  await timeline.getByText("30 events", { exact: true }).waitFor();
  const releaseAgain = await hold(page, /\/api\/sessions\/[^/]+(\/histogram.*)?$/);
  await backend.postEvents(session, [...writes(5, "/tmp/c"), written("/tmp/d", "ReadFile")]);
  await countText(page).getByText("35 events selected", { exact: true }).waitFor();
  await timeline.getByText("35 events", { exact: true }).waitFor();
  await releaseAgain();
  await page.getByRole("button", { name: "37 of 37 events, none lost" }).waitFor();
});

test("summaries are requested again only after new events", async ({ page, backend }) => {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const session = await backend.createSession("idle.sh", "true");
  await backend.post("/api/start-monitor", { sessionId: session, mode: 2, processes: [child.pid] });
  const asked: string[] = [];
  page.on("request", (request) => {
    const path = new URL(request.url()).pathname;
    if (path === "/api/health" || path.startsWith(`/api/sessions/${session}/`))
      asked.push(path.split("/").at(-1) ?? "");
  });
  const polls = () => asked.filter((name) => name === "health").length;
  const others = () => asked.filter((name) => name !== "health");
  for (const view of ["events", "processes", "files"] as const) {
    await page.goto(viewPath(session, view));
    await page.getByText("Live", { exact: true }).waitFor();
    // Within the time of four polls of the health nothing else is requested, as soon as all answers are there.
    await expect
      .poll(
        async () => {
          asked.length = 0;
          await expect.poll(polls).toBeGreaterThan(3);
          return others();
        },
        { timeout: 120_000 },
      )
      .toEqual([]);
  }
  await backend.postEvents(session, [written("/tmp/news")]);
  await rows(page, "files").getByText("/tmp/news", { exact: true }).waitFor();
  expect(others()).toContain("files");
  await backend.post("/api/monitor/stop", { sessionId: session });
});
