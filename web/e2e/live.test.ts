import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { Locator } from "playwright-core";
import { onTestFinished } from "vitest";
import { openView, rows, runFilter, stopMonitoring, viewPath, views } from "./pages";
import { expect, test } from "./test";

// End to end: the backend, the agent for Linux, and monitored programs.
test.beforeAll(({ backend }) => backend.startAgent());

/** The agent sees reads and writes by eBPF, which needs root. */
const isRoot = process.getuid?.() === 0;

/** Outlives every test that runs it, also on a busy machine. The tests stop it. */
const sample = `#!/bin/sh
i=0
while [ $i -lt 2400 ]; do
  i=$((i+1))
  echo "line $i" >> notes.txt
  cat /etc/hostname > /dev/null
  sleep 0.2
done
`;

/** A program that runs until the test ends. */
function runs(command: string): ChildProcess {
  const child = spawn("/bin/sh", ["-c", command], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

interface Detail {
  state: string;
  event_count: number;
  file_sha256: string;
  completeness: { complete: boolean };
}

/** Waits until a scroller is still: a browser animates a wheel scroll in many steps. */
async function scrolledOut(scroller: Locator): Promise<void> {
  await scroller.evaluate(async (element) => {
    let still = 0;
    for (let before = -1; still < 10; before = element.scrollTop) {
      still = element.scrollTop === before ? still + 1 : 0;
      await new Promise(requestAnimationFrame);
    }
  });
}

test("an uploaded file is started, watched and stopped", async ({ page, backend }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Agent online" }).waitFor();
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Upload a file" }).click();
  await (await choosing).setFiles({ name: "sample.sh", mimeType: "text/x-sh", buffer: Buffer.from(sample) });
  await page.getByRole("heading", { name: "sample.sh" }).waitFor();
  const session = new URL(page.url()).pathname.split("/")[2] ?? "";
  await page.getByText("No events yet").first().waitFor();

  await page.getByRole("button", { name: "Start", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Start monitoring" });
  expect(await dialog.getByRole("radio", { name: /The uploaded file/ }).isChecked()).toBe(true);
  // The agent allows no network and ten minutes, as it does by default.
  await dialog.getByText(/This agent allows no network/).waitFor();
  expect(await dialog.getByRole("combobox", { name: "Network" }).inputValue()).toBe("none");
  const time = dialog.getByRole("textbox", { name: "Time limit, in seconds" });
  await time.fill("601");
  expect(await dialog.getByRole("button", { name: "Start" }).isDisabled()).toBe(true);
  await time.fill("500");
  await dialog.getByRole("button", { name: "Start" }).click();
  await dialog.waitFor({ state: "detached" });
  await page
    .getByRole("banner")
    .or(page.getByRole("main"))
    .getByText("Active", { exact: true })
    .first()
    .waitFor();

  // New rows arrive, and the table follows the newest until the reader scrolls up.
  await page.getByRole("link", { name: "Events", exact: true }).click();
  await rows(page, "events")
    .getByText(/sample\.sh|sleep/)
    .first()
    .waitFor();
  const follow = page.getByRole("button", { name: "Following" });
  await follow.waitFor();
  const grid = page.getByRole("grid", { name: "Events" });
  const total = async () => Number(await grid.getAttribute("aria-rowcount"));
  await expect.poll(total).toBeGreaterThan(60);
  // Not over a row: to hover over a row that moves, Playwright scrolls to it again and again.
  await grid.hover();
  await page.mouse.wheel(0, -300);
  const fresh = page.getByRole("button", { name: /^[\d,]+ new$/ });
  await fresh.waitFor();
  await scrolledOut(grid);
  const firstRow = await rows(page, "events").first().getAttribute("aria-rowindex");
  const before = await total();
  await expect.poll(total).toBeGreaterThan(before);
  expect(await rows(page, "events").first().getAttribute("aria-rowindex")).toBe(firstRow);
  await fresh.click();
  await follow.waitFor();
  await expect
    .poll(async () => Number(await rows(page, "events").last().getAttribute("aria-rowindex")))
    .toBeGreaterThan(before);

  // A filter also selects among new events.
  const all = await total();
  await runFilter(page, "type = process_creation");
  await expect.poll(() => new URL(page.url()).searchParams.get("filter")).toBe("type = process_creation");
  await expect
    .poll(async () => {
      const texts = await rows(page, "events").allTextContents();
      const isSelected = (text: string) =>
        text.includes("process creation") || text.includes("sleep") || text.includes("cat");
      return texts.length > 0 && texts.every(isSelected) && (await total()) < all;
    })
    .toBe(true);
  const some = await total();
  await expect.poll(total).toBeGreaterThan(some);

  await stopMonitoring(page);
  await page.getByText("Ended", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Start again" }).waitFor();
  for (const view of isRoot
    ? (["events", "processes", "files"] as const)
    : (["events", "processes"] as const))
    await openView(page, session, view);
  const detail = await backend.get<Detail>(`/api/sessions/${session}`);
  expect(detail).toMatchObject({ state: "ended", completeness: { complete: true } });
  const count = detail.event_count.toLocaleString("en");
  await page.getByRole("button", { name: `${count} of ${count} events, none lost` }).waitFor();

  const began = await backend.get<{ data: { run: { limits: object } } }[]>(
    `/api/sessions/${session}/export?format=json&filter=type%20%3D%20session_start`,
  );
  const limits = { network: "none", timeoutSeconds: 500, memoryMB: 1024 };
  expect(began.map(({ data }) => data.run.limits)).toEqual([limits]);

  // Another run is another session, so that two runs never share a timeline.
  await page.getByRole("button", { name: "Start again" }).click();
  await page.getByRole("button", { name: "Start", exact: true }).waitFor();
  const again = new URL(page.url()).pathname.split("/")[2] ?? "";
  expect(again).not.toBe(session);
  const { file_sha256 } = detail;
  expect(await backend.get(`/api/sessions/${again}`)).toMatchObject({
    state: "created",
    event_count: 0,
    file_sha256,
  });
  const { state, event_count } = detail;
  expect(await backend.get(`/api/sessions/${session}`)).toMatchObject({ state, event_count });
});

test("the keyboard alone uploads, starts, looks, filters, stops and exports", async ({
  page,
  backend,
  faults,
}) => {
  faults.allow(/status of 400.*filter=/); // while the filter is being typed
  let presses = 0;
  const press = async (key: string) => {
    presses++;
    await page.keyboard.press(key);
  };
  const type = async (text: string) => {
    presses += text.length;
    await page.keyboard.type(text);
  };
  const focused = () =>
    page.evaluate(() => {
      const { activeElement: e } = document;
      const name = e?.getAttribute("aria-label") ?? e?.closest("label")?.textContent ?? e?.textContent;
      return `${e?.getAttribute("role") ?? e?.tagName.toLowerCase()} ${name?.trim()}`;
    });
  const has = (what: string) => expect.poll(focused).toBe(what);
  /** Presses a key until an element has the focus. Another key press than Tab could do harm on the way. */
  const goTo = async (what: string, key: "Tab" | "Shift+Tab" = "Tab") => {
    const passed: string[] = [];
    while (passed.at(-1) !== what) {
      if (passed.length > 30) throw new Error(`${what} is not among ${passed.join(", ")}`);
      await press(key);
      passed.push(await focused());
    }
  };

  const choosing = page.waitForEvent("filechooser");
  await page.goto("/");
  await page.getByRole("button", { name: "Agent online" }).waitFor();
  await goTo("button Upload a file");
  await press("Enter");
  await (await choosing).setFiles({ name: "keys.sh", mimeType: "text/x-sh", buffer: Buffer.from(sample) });
  await has("button Start");
  const session = new URL(page.url()).pathname.split("/")[2] ?? "";

  await press("Enter");
  await expect.poll(focused).toMatch(/^input The uploaded file/);
  await goTo("button Start");
  await press("Enter");
  await has("section summary");
  await expect.poll(async () => (await backend.get<Detail>(`/api/sessions/${session}`)).state).toBe("active");

  await press("1");
  await rows(page, "events").nth(2).waitFor();
  await press("Tab");
  await has("grid Events");
  await press("Home");
  await press("ArrowDown");
  await press("Enter");
  await page.getByRole("complementary", { name: "Event 2" }).waitFor();
  await press("Escape");
  await page.getByRole("complementary", { name: "Event 2" }).waitFor({ state: "detached" });
  await has("grid Events");

  await goTo("textbox Filter", "Shift+Tab");
  await type("type = process_creation");
  await press("Enter");
  await expect.poll(() => new URL(page.url()).searchParams.get("filter")).toBe("type = process_creation");
  await has("textbox Filter");

  await goTo("button Stop", "Shift+Tab");
  await press("Enter");
  await has("button Cancel");
  await press("Tab");
  await has("button Stop");
  await press("Enter");
  await page.getByText("Ended", { exact: true }).waitFor();
  await has("h1 keys.sh");

  await goTo("button Export");
  await press("Enter");
  await has("menuitem NDJSON, one event per line");
  const downloading = page.waitForEvent("download");
  await press("Enter");
  const lines = (await readFile(await (await downloading).path(), "utf8")).trimEnd().split("\n");
  const { event_counts } = await backend.get<{ event_counts: Record<string, number> }>(
    `/api/sessions/${session}`,
  );
  expect(lines).toHaveLength(event_counts.process_creation ?? 0);
  for (const line of lines) expect(JSON.parse(line).event_type).toBe("process_creation");
  await has("button Export");
  // Two thirds are for the way from the grid to the filter, the text of the filter, and the way to "Stop".
  // Two answer the question before the stop.
  expect(presses).toBeLessThanOrEqual(77);
});

test("chosen processes are watched", async ({ page, backend }) => {
  const child = runs("while :; do cat /etc/hosts > /dev/null; sleep 0.1; done");
  const session = await backend.createSession("nothing.bin", "nothing");
  await page.goto(viewPath(session, "events"));
  await page.getByRole("button", { name: "Start", exact: true }).waitFor();
  await page.keyboard.press("s");
  const dialog = page.getByRole("dialog", { name: "Start monitoring" });
  await dialog.getByRole("radio", { name: /Chosen processes/ }).check();
  await dialog.getByRole("searchbox", { name: "Search processes" }).fill(String(child.pid));
  expect(await dialog.getByRole("button", { name: "Start" }).isDisabled()).toBe(true);
  await dialog.getByRole("checkbox", { name: new RegExp(`\\b${child.pid}\\b`) }).check();
  await dialog.getByText(/^1 process chosen of \d+/).waitFor();
  await dialog.getByRole("button", { name: "Start" }).click();
  await rows(page, "events").getByText("cat").first().waitFor();
  await page.goto(viewPath(session, "processes"));
  await rows(page, "processes")
    .filter({ hasText: String(child.pid) })
    .first()
    .waitFor();
  // The key and the button ask before they end a sample, and the first answer is not to.
  const question = page.getByRole("dialog", { name: "Stop monitoring?" });
  const button = page.getByRole("button", { name: "Stop" });
  for (const ask of [() => page.keyboard.press("s"), () => button.click()]) {
    await ask();
    await question.waitFor();
    await page.keyboard.press("Enter");
    await question.waitFor({ state: "detached" });
    expect((await backend.get<{ state: string }>(`/api/sessions/${session}`)).state).toBe("active");
  }
  await stopMonitoring(page);
  await page.getByText("Ended", { exact: true }).waitFor();
});

test("all processes are watched", async ({ page, backend }) => {
  const session = await backend.createSession("nothing.bin", "nothing");
  await page.goto(viewPath(session, "events"));
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Start monitoring" });
  await dialog.getByRole("radio", { name: /All processes/ }).check();
  await dialog.getByRole("button", { name: "Start" }).click();
  await dialog.waitFor({ state: "detached" });
  runs("while :; do /usr/bin/env ospulse-mark=1 true; sleep 0.1; done");
  await runFilter(page, "data.commandLine contains ospulse-mark");
  await rows(page, "events").first().waitFor();
  await stopMonitoring(page);
  await page.getByText("Ended", { exact: true }).waitFor();
});

test("seven tabs all receive events, and their requests are answered", async ({ window, backend }) => {
  const sessions = [await backend.createSession("one.bin", "1"), await backend.createSession("two.bin", "2")];
  const sleeping = runs("exec sleep 600");
  for (const sessionId of sessions)
    await backend.post("/api/start-monitor", { sessionId, mode: 2, processes: [sleeping.pid] });
  const pages = [];
  for (let i = 0; i < 7; i++) {
    const page = await window.context.newPage();
    await page.goto(viewPath(sessions[i % 2] ?? "", "events"));
    await page.getByRole("button", { name: "Following" }).waitFor();
    pages.push(page);
  }
  for (const round of [1, 2, 3]) {
    const name = `/tmp/round-${round}`;
    for (const session of sessions) await backend.postEvents(session, [written(name)]);
    await Promise.all(pages.map((page) => rows(page, "events").getByText(name, { exact: true }).waitFor()));
  }
  for (const page of pages) {
    await page.keyboard.press("3");
    await rows(page, "files").getByText("/tmp/round-1", { exact: true }).waitFor();
  }
  for (const sessionId of sessions) await backend.post("/api/monitor/stop", { sessionId });
  for (const page of pages) await page.getByText("Ended", { exact: true }).waitFor();
});

test("a backend that is killed and comes back leaves no gap", async ({ page, faults, backend }) => {
  // While the backend is offline, the browser logs every failed request.
  faults.allow(/^console: Failed to load resource: net::ERR_/);
  faults.allow(/^console: .*net::ERR_INCOMPLETE_CHUNKED_ENCODING/);
  const session = await backend.createSession("killed.bin", "k");
  const sleeping = runs("exec sleep 600");
  await backend.post("/api/start-monitor", { sessionId: session, mode: 2, processes: [sleeping.pid] });
  await page.goto(viewPath(session, "events"));
  let sent = 0;
  const send = async (upTo: number) => {
    while (sent < upTo) {
      const events = Array.from({ length: 20 }, (_, i) => written(`/tmp/file-${sent + i + 1}`));
      await backend.postEvents(session, events);
      sent += events.length;
    }
  };
  await send(200);
  await rows(page, "events").getByText("/tmp/file-200", { exact: true }).waitFor();

  await backend.kill();
  const banner = page.getByRole("alert").filter({ hasText: "has been unreachable" });
  await banner.waitFor();
  await rows(page, "events").getByText("/tmp/file-200", { exact: true }).waitFor();

  await backend.restart();
  await send(300);
  await banner.waitFor({ state: "detached" });
  await rows(page, "events").getByText("/tmp/file-300", { exact: true }).waitFor();
  await send(400);
  await rows(page, "events").getByText("/tmp/file-400", { exact: true }).waitFor();

  // With the events of the agent: every seq is present, and every file. The agent may still
  // add one, because the new backend is another process to exclude.
  const count = async () => (await backend.get<Detail>(`/api/sessions/${session}`)).event_count;
  const seen = new Map<number, string>();
  const grid = page.getByRole("grid", { name: "Events" });
  await grid.focus();
  await page.keyboard.press("Home");
  await rows(page, "events")
    .filter({ has: page.getByRole("gridcell", { name: "1", exact: true }) })
    .first()
    .waitFor();
  let reached = "";
  await expect
    .poll(async () => {
      const drawn = await rows(page, "events").evaluateAll((all) =>
        all.map((row) => [...row.querySelectorAll("[role=gridcell]")].map((cell) => cell.textContent)),
      );
      const cells = drawn.filter((row) => row.length > 1);
      for (const row of cells) seen.set(Number(row[0]), row.join(" "));
      const total = await count();
      // The current row is named once it is drawn.
      const current = await grid.getAttribute("aria-activedescendant");
      const isLast = cells.some((row) => Number(row[0]) >= total);
      if (current && current !== reached) await page.keyboard.press(isLast ? "Home" : "PageDown");
      reached = current ?? reached;
      return total - seen.size;
    })
    .toBe(0);
  expect([...seen.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: seen.size }, (_, i) => i + 1));
  const text = [...seen.values()].join("\n");
  for (let i = 1; i <= 400; i++) expect(text).toMatch(new RegExp(`/tmp/file-${i}\\b`));
  await backend.post("/api/monitor/stop", { sessionId: session });
});

function written(filePath: string) {
  const metadata = { processName: "writer", processId: 4711 };
  return {
    event_type: "file_operation",
    timestamp: new Date().toISOString(),
    source: "os-pulse-agent",
    data: { operation: "WriteFile", filePath, bytesTransferred: 1, metadata },
  };
}

test("the views of a live session do not move under the reader", async ({ page, backend }) => {
  // The session unassigned: events may arrive there at any time.
  await backend.postEvents(
    "unassigned",
    Array.from({ length: 300 }, (_, i) => written(`/tmp/old-${i}`)),
  );
  for (const view of views.filter((name) => name === "events" || name === "files")) {
    await page.goto(viewPath("unassigned", view));
    await rows(page, view).first().waitFor();
    const name = `/tmp/new-in-${view}`;
    await backend.postEvents(
      "unassigned",
      Array.from({ length: 5 }, () => written(name)),
    );
    await rows(page, view).getByText(name).first().waitFor();
  }
});
