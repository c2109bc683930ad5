import { spawn } from "node:child_process";
import type { Page, Route } from "playwright-core";
import { onTestFinished } from "vitest";
import type { Backend } from "./harness";
import { countText, openView, rows, runFilter, stopMonitoring, viewPath } from "./pages";
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
  let sending = 0; // rounds whose event may still arrive
  await page.route("**/api/health", async (route) => {
    if (isSending) {
      sending++;
      const name = `/tmp/contact-${++rounds}`;
      await backend.postEvents("unassigned", [written(name)]);
      await rows(page, "events").getByText(name, { exact: true }).waitFor();
      sending--;
    }
    await route.abort();
  });
  await expect.poll(() => rounds).toBeGreaterThan(3);
  expect(await banner.count()).toBe(0);
  expect(await live.count()).toBe(1);

  isSending = false;
  await expect.poll(() => sending).toBe(0);
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
      .poll(async () => {
        asked.length = 0;
        await expect.poll(polls).toBeGreaterThan(3);
        return others();
      })
      .toEqual([]);
  }
  await backend.postEvents(session, [written("/tmp/news")]);
  await rows(page, "files").getByText("/tmp/news", { exact: true }).waitFor();
  expect(others()).toContain("files");
  await backend.post("/api/monitor/stop", { sessionId: session });
});

/** Uploads a script, runs it, and returns its session. */
async function run(backend: Backend, name: string, script: string): Promise<string> {
  const session = await backend.createSession(name, script);
  await backend.post("/api/start-monitor", { sessionId: session, mode: 3 });
  return session;
}

test("a program that has exited is not active, and the page says how it ended and how long it ran", async ({
  page,
  backend,
}) => {
  const session = await run(backend, "exits.sh", "#!/bin/sh\nsleep 1\nexit 3\n");
  await page.goto(viewPath(session, "events"));
  const ending = page.getByRole("button", { name: "Exit code 3", exact: true });
  await ending.waitFor();
  await page.getByText("Ended", { exact: true }).waitFor();
  expect(await page.getByText(/^(Active|Live)$/).count()).toBe(0);
  expect(await page.getByRole("button", { name: "Stop" }).count()).toBe(0);
  const { monitoring_started: from, monitoring_ended: to } = await backend.get<{
    monitoring_started: string;
    monitoring_ended: string;
  }>(`/api/sessions/${session}`);
  const seconds = (Date.parse(to) - Date.parse(from)) / 1000;
  const shown = page.getByText(/^\d+\.\d\d s$/).first();
  expect(Number.parseFloat((await shown.textContent()) ?? "")).toBeCloseTo(seconds, 1);
  await ending.click();
  await page
    .getByRole("complementary", { name: /^Event \d+$/ })
    .getByText("session_end")
    .first()
    .waitFor();
  await page.goto("/");
  await page.getByRole("row", { name: /Ended\s*Exit code 3.*exits\.sh/ }).waitFor();
});

test("a session of chosen processes says how it ended", async ({ page, backend }) => {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const session = await backend.createSession("chosen.sh", "true");
  await backend.post("/api/start-monitor", { sessionId: session, mode: 2, processes: [child.pid] });
  await page.goto(viewPath(session, "events"));
  await stopMonitoring(page);
  await page.getByRole("button", { name: "Stopped", exact: true }).waitFor();
});

test("a session of all processes says that it does not record the browser", async ({ page, backend }) => {
  const session = await backend.createSession("all.sh", "true");
  await page.goto("/"); // the browser is connected before the session begins
  await page.getByRole("row", { name: /all\.sh/ }).waitFor();
  await backend.post("/api/start-monitor", { sessionId: session, mode: 1 });
  await backend.post("/api/monitor/stop", { sessionId: session });
  await page.goto(viewPath(session, "events"));
  await page.getByRole("button", { name: /^Not recorded: (chrom|headless)/ }).click();
  await page.getByText(/^The agent does not record \d+ processes? of the browser/).waitFor();
  await page.getByRole("button", { name: "Show the event" }).click();
  const event = page.getByRole("complementary", { name: /^Event \d+$/ });
  await event.getByText("session_start").first().waitFor();
});

test("while the table follows, its last row is in sight, and so is the end", async ({ page, backend }) => {
  const session = await run(backend, "follow.sh", "#!/bin/sh\nwhile [ ! -e stop ]; do sleep 0.2; done\n");
  await backend.postEvents(session, writes(300, "/tmp/follow"));
  await page.goto(viewPath(session, "events"));
  await page.getByRole("button", { name: "Following" }).waitFor();
  const grid = page.getByRole("grid", { name: "Events" });
  /** The pixels below the viewport. */
  const hidden = () => grid.evaluate((e) => Math.round(e.scrollHeight - e.clientHeight - e.scrollTop));
  await expect.poll(() => grid.evaluate((e) => e.scrollHeight)).toBeGreaterThan(300 * 20);
  await expect.poll(hidden).toBeLessThanOrEqual(1);
  for (const height of [500, 1000, 640]) {
    await page.setViewportSize({ width: 1440, height });
    await expect.poll(() => page.evaluate(() => innerHeight)).toBe(height);
    await expect.poll(hidden).toBeLessThanOrEqual(1);
  }
  await backend.post("/api/monitor/stop", { sessionId: session });
  await page.getByText("Ended", { exact: true }).waitFor();
  await backend.postEvents(session, writes(30, "/tmp/late"));
  await rows(page, "events").getByText("/tmp/late-30", { exact: true }).waitFor();
  await expect.poll(hidden).toBeLessThanOrEqual(1);
});

test("an imported copy does not look like the original", async ({ page, backend }) => {
  const session = await backend.createSession("original.sh", "true");
  await page.goto(viewPath(session, "events"));
  await page.getByRole("button", { name: "No events", exact: true }).waitFor();
  const bundle = await (await fetch(`${backend.url}/api/sessions/${session}/export?format=bundle`)).blob();
  const answer = await fetch(`${backend.url}/api/sessions/import?new_id=true`, {
    method: "POST",
    headers: { "Content-Type": "application/zip" },
    body: bundle,
  });
  const copy = (await answer.json()) as { id: string };
  await page.goto("/");
  await page.getByRole("row", { name: /original\.sh Imported copy/ }).waitFor();
  expect(await page.getByRole("row", { name: /original\.sh/ }).count()).toBe(2);
  await page.goto(viewPath(copy.id, "events"));
  await page.getByText(/^Copy, imported 20\d\d-/).waitFor();
});

test("the details of a process have its exit code, its user and its environment", async ({
  page,
  backend,
}) => {
  const session = await backend.createSession("process.sh", "true");
  const event = (event_type: string, timestamp: string, data: object) => ({
    event_type,
    timestamp,
    source: "os-pulse-agent",
    data: { ...data, metadata: { processName: "worker", processId: 5150, userId: 1000 } },
  });
  await backend.postEvents(session, [
    event("process_creation", "2026-11-20T10:00:00Z", {
      operation: "execve",
      newProcessId: 5150,
      imagePath: "/bin/worker",
      currentDirectory: "/srv/work",
      environment: { PATH: "/bin", HOME: "/", A: "1", B: "2", C: "<b>3</b>", LD_PRELOAD: "/tmp/x.so" },
      environmentRest: ["PATH=/second"],
    }),
    event("file_operation", "2026-11-20T10:00:00Z", { operation: "ReadFile", filePath: "/etc/hosts" }),
    event("process_exit", "2026-11-20T10:00:01Z", { operation: "exit", exitCode: 7 }),
  ]);
  const tree = await openView(page, session, "processes");
  await tree.filter({ hasText: "5150" }).first().click();
  const details = page.getByRole("region", { name: "Chosen process" });
  await details.getByText("Exit code 7", { exact: true }).waitFor();
  await details.getByText("1000", { exact: true }).waitFor();
  await details.getByText("/srv/work", { exact: true }).waitFor();
  await details.getByText("/tmp/x.so", { exact: true }).waitFor();
  expect(await details.getByText("<b>3</b>", { exact: true }).count()).toBe(0);
  await details.getByRole("button", { name: "Show all 7 variables" }).click();
  await details.getByText("<b>3</b>", { exact: true }).waitFor();
  await details.getByText("PATH=/second", { exact: true }).waitFor();
});
