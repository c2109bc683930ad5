import { readFile } from "node:fs/promises";
import type { PostedEvent } from "./harness";
import { complete, countText, filterField, openView, rows, runFilter, views } from "./pages";
import { resultEvents, shared } from "./results";
import { storyEvents } from "./story";
import { desk, expect, telephone, test } from "./test";

const began = new Date("2026-11-20T10:00:00Z");
const story = storyEvents(began);
let session: string;
let results: string;

test.beforeAll(async ({ backend }) => {
  results = await backend.createSession("results.sh", "#!/bin/sh\n");
  await backend.postEvents(results, resultEvents());
  session = await backend.createSession("invoice.sh", "#!/bin/sh\necho harmless\n");
  await backend.postEvents(session, story);
});

const operationOf = (event: PostedEvent) => (event.data as { operation?: string }).operation;
const count = (is: (event: PostedEvent) => boolean) => story.filter(is).length.toLocaleString("en");

test("each view opens with its rows, by its tab and by its address", async ({ page }) => {
  await openView(page, session, "events");
  const first: Record<(typeof views)[number], RegExp> = {
    events: /session.start/i,
    processes: /invoice\.sh.*4188/,
    files: /\/(etc|usr|tmp|home|proc|dev)\//,
    http: /(GET|POST|PUT).*example/,
    network: /93\.184\.216\.\d/,
  };
  for (const view of views) {
    await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view }).click();
    await rows(page, view).filter({ hasText: first[view] }).first().waitFor();
    const address = page.url();
    await page.reload();
    await rows(page, view).filter({ hasText: first[view] }).first().waitFor();
    expect(page.url()).toBe(address);
  }
});

test("a filter selects events, and is in the address", async ({ page }) => {
  await openView(page, session, "events");
  await countText(page)
    .getByText(`${story.length.toLocaleString("en")} events`)
    .waitFor();
  await runFilter(page, "operation = DeleteFile");
  const deletions = count((event) => operationOf(event) === "DeleteFile");
  await page.getByText(`${deletions} events selected`).waitFor();
  for (const text of await rows(page, "events").allInnerTexts()) expect(text).toContain("DeleteFile");
  await page.reload();
  await page.getByText(`${deletions} events selected`).waitFor();
  await expect.poll(async () => (await filterField(page)).textContent()).toBe("operation = DeleteFile");
});

test("a filter is taken from the address as it was written", async ({ page }) => {
  const filter = "target contains '%2F+a&b=c#d%41 100%'";
  await openView(page, session, "events");
  await runFilter(page, filter);
  await page.getByText("No matching events").waitFor();
  const shown = async () => (await filterField(page)).textContent();
  expect(await shown()).toBe(filter);
  await page.reload();
  await expect.poll(shown).toBe(filter);
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Files" }).click();
  await page.getByText("No matching files").waitFor();
  await expect.poll(shown).toBe(filter);
  expect(new URL(page.url()).searchParams.get("filter")).toBe(filter);
});

test("a fault of a filter is shown, and the selection stays", async ({ page, faults }) => {
  faults.allow(/status of 400.*filter=/);
  await openView(page, session, "events");
  await runFilter(page, "operation = (");
  const field = await filterField(page);
  await expect.poll(() => field.getAttribute("aria-invalid")).toBe("true");
  await page.getByText(/^Column \d+: /).waitFor();
  await rows(page, "events").first().waitFor();
  expect(new URL(page.url()).searchParams.get("filter")).toBeNull();
});

test("a span of the timeline selects events", async ({ page }) => {
  await openView(page, session, "events");
  const plot = page.getByRole("slider", { name: "Span of time" });
  const box = await plot.boundingBox();
  if (!box) throw new Error("the timeline is not drawn");
  const y = box.y + box.height / 3;
  await page.mouse.move(box.x + box.width * 0.5, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, y, { steps: 5 });
  await page.mouse.move(box.x + box.width * 0.75, y, { steps: 5 });
  await page.mouse.up();
  await expect.poll(() => new URL(page.url()).searchParams.get("to")).not.toBeNull();
  const params = new URL(page.url()).searchParams;
  const [from, to] = [new Date(params.get("from") ?? ""), new Date(params.get("to") ?? "")];
  const seconds = (time: Date) => (time.getTime() - began.getTime()) / 1000;
  expect(seconds(from)).toBeGreaterThan(250);
  expect(seconds(to)).toBeGreaterThan(seconds(from) + 100);
  const selected = count(({ timestamp }) => new Date(timestamp) >= from && new Date(timestamp) <= to);
  await expect
    .poll(async () => Number(((await countText(page).textContent()) ?? "").replace(/\D/g, "")))
    .toBeCloseTo(Number(selected.replace(",", "")), -1);
  await page.getByRole("button", { name: "Show the whole time again" }).click();
  await countText(page)
    .getByText(`${story.length.toLocaleString("en")} events`)
    .waitFor();
});

test("an event opens, with all its tabs", async ({ page }) => {
  await openView(page, session, "events", "?filter=operation%20%3D%20WriteFile");
  await rows(page, "events").first().click();
  const seq = new URL(page.url()).searchParams.get("seq");
  const details = page.getByRole("complementary", { name: `Event ${seq}` });
  await details.getByText("WriteFile").first().waitFor();
  await details.getByRole("tab", { name: "JSON" }).click();
  await details.getByText("filePath").first().waitFor();
  await details.getByRole("tab", { name: "Content" }).click();
  await details
    .getByText(/line \d+ of \//)
    .first()
    .waitFor();
  await details.getByRole("tab", { name: "Raw" }).click();
  await details.getByText('"event_type"').first().waitFor();
  await details.getByRole("tab", { name: "Related" }).click();
  await details
    .getByText(/process|target/i)
    .first()
    .waitFor();
  await page.reload();
  await details.getByRole("tab", { name: "Related" }).waitFor();
  await details.getByRole("button", { name: "Close the details" }).click();
  await details.waitFor({ state: "detached" });
});

test("the width of the details is kept", async ({ page }) => {
  await openView(page, session, "events", "?seq=1");
  const handle = page.getByRole("separator", { name: "Width of the details" });
  const details = page.getByRole("complementary", { name: "Event 1" });
  const width = async () => Math.round((await details.boundingBox())?.width ?? 0);
  await expect.poll(width).toBe(560);
  await handle.press("End");
  await expect.poll(width).toBe(320);
  await handle.press("Home");
  await expect.poll(width).toBe(Math.round(desk.width * 0.7));
  await handle.press("ArrowRight");
  await expect.poll(width).toBeLessThan(Math.round(desk.width * 0.7));
  const chosen = await width();
  await page.reload();
  await expect.poll(width).toBe(chosen);
  await handle.dblclick();
  await expect.poll(width).toBe(560);
});

test("a value of a row becomes a filter", async ({ page }) => {
  await openView(page, session, "events");
  await rows(page, "events").getByText("invoice.sh").first().click();
  await page.getByRole("menuitem", { name: "Include this value" }).click();
  await expect.poll(() => new URL(page.url()).searchParams.get("filter")).toMatch(/process.*invoice\.sh/);
  await page.getByText(/events selected/).waitFor();
});

test("on a phone a touch anywhere opens the event", async ({ openWindow }) => {
  const { context } = await openWindow({ viewport: telephone, hasTouch: true });
  const page = await context.newPage();
  const found = await openView(page, session, "events", "?filter=operation%20%3D%20ReadFile");
  await found.getByText("ReadFile").first().tap();
  await page.getByRole("complementary", { name: /^Event \d+$/ }).waitFor();
});

test("a chosen process and its descendants filter every view, on request it alone", async ({ page }) => {
  const tree = await openView(page, session, "processes");
  await tree.filter({ hasText: "4192" }).first().click();
  expect(new URL(page.url()).searchParams.get("pid")).toBe("4192");
  await page.keyboard.press("1");
  const of = (...pids: number[]) =>
    count((event) =>
      pids.includes((event.data as { metadata?: { processId?: number } }).metadata?.processId ?? 0),
    );
  expect(of(4193)).not.toBe("0");
  await page.getByText(`${of(4192, 4193, 4194)} events selected`).waitFor();
  await page.getByRole("button", { name: "with descendants" }).click();
  await page.getByText(`${of(4192)} events selected`).waitFor();
});

test("a file says how many of its processes are listed", async ({ page }) => {
  const files = await openView(page, results, "files");
  await files.filter({ hasText: shared }).click();
  const details = page.getByRole("complementary", { name: "File" });
  await details.getByRole("heading", { name: "10 of 12 processes" }).waitFor();
});

test("the texts of the menu and of the tree are plain", async ({ page }) => {
  await openView(page, results, "processes");
  await page.getByRole("columnheader", { name: "Lifetime" }).waitFor();
  await page.getByRole("button", { name: /^Settings/ }).click();
  await page.getByRole("menuitem", { name: "API docs" }).waitFor();
  await page.getByRole("menuitemcheckbox", { name: /^Local \(/ }).waitFor();
  await page.getByRole("menuitemcheckbox", { name: "System" }).waitFor();
});

test("each kind has its own letter in the counts of a process", async ({ page }) => {
  const tree = await openView(page, results, "processes");
  const counts = tree.filter({ hasText: "reader700" }).first().locator("[title] > [aria-hidden]");
  expect(await counts.allInnerTexts()).toEqual(["F", "P", "H", "N", "K"]);
});

test("a call that failed says so, by its error and not by color alone", async ({ page, openWindow }) => {
  const events = await openView(page, results, "events");
  const resultOf = async (text: string) => {
    const cell = events.filter({ hasText: text }).first().getByRole("gridcell").nth(7).locator("bdi");
    const style = (element: Element) => {
      const { fontWeight, color } = getComputedStyle(element);
      return { fontWeight, color, sign: getComputedStyle(element, "::before").content };
    };
    return { text: await cell.textContent(), ...(await cell.evaluate(style)) };
  };
  const ok = await resultOf("/etc/passwd");
  expect(ok).toMatchObject({ text: "ok", fontWeight: "400", sign: "none" });
  for (const [of, text] of [
    ["/etc/absent", "ENOENT"],
    ["C:\\absent", "OBJECT_NAME_NOT_FOUND"],
    ["/tmp/a", "EACCES"],
  ] as const) {
    const found = await resultOf(of);
    expect(found).toMatchObject({ text, fontWeight: "600", sign: expect.stringContaining("✕") });
    expect(found.color).not.toBe(ok.color);
  }
  for (const text of ["404", "NXDOMAIN", "exit 3", "SIGKILL"])
    await events.getByText(text, { exact: true }).waitFor();
  await events.getByText("ENOENT", { exact: true }).click();
  await page.getByRole("menuitem", { name: "Include this value" }).click();
  await countText(page).getByText("1 event selected").waitFor();
  expect(new URL(page.url()).searchParams.get("filter")).toBe("data.error = 'ENOENT'");

  const { context } = await openWindow({ viewport: telephone });
  const phone = await context.newPage();
  const cell = (await openView(phone, results, "events")).getByText("ENOENT", { exact: true });
  const box = await cell.boundingBox();
  expect(box && box.x + box.width).toBeLessThan(telephone.width);
});

test("any field of the data can be a column, and stays one", async ({ page, backend }) => {
  const events = await openView(page, results, "events");
  await events.filter({ hasText: "reader705" }).getByRole("gridcell").first().click();
  const details = page.getByRole("complementary", { name: /^Event \d+$/ });
  const field = details.locator("div.group").filter({ hasText: "bytes transferred" });
  await field.getByRole("button", { name: "Show as column" }).click();
  const bytes = page.getByRole("columnheader", { name: "bytesTransferred" });
  await bytes.waitFor();
  await events.filter({ hasText: "reader705" }).getByText("705", { exact: true }).nth(1).waitFor();
  await page.getByRole("button", { name: "Columns" }).click();
  await page.getByRole("menuitem", { name: "Add a field of the data…" }).click();
  const dialog = page.getByRole("dialog", { name: "Add a column" });
  await dialog.getByRole("textbox").fill("a b");
  await page.keyboard.press("Enter");
  await dialog.getByText(/^Write a path such as/).waitFor();
  await dialog.getByRole("textbox").fill("dns");
  await dialog.getByRole("button", { name: /^data\.dns\[0\]\.questions\[0\]\.name/ }).click();
  await events.getByText("absent.test", { exact: true }).waitFor();
  await page.reload();
  await events.getByText("absent.test", { exact: true }).waitFor();

  // An event of the stream has them, too.
  const data = {
    operation: "WriteFile",
    filePath: "/late",
    bytesTransferred: 4711,
    status: -1,
    error: "EPERM",
  };
  const metadata = { processName: "late", processId: 1 };
  const timestamp = new Date(began.getTime() + 7200_000).toISOString();
  const event = { event_type: "file_operation", timestamp, source: "os-pulse-agent" };
  await backend.postEvents(results, [{ ...event, data: { ...data, metadata } }]);
  const late = events.filter({ hasText: "/late" });
  await late.getByText("EPERM", { exact: true }).waitFor();
  await late.getByText("4711", { exact: true }).waitFor();

  await bytes.getByRole("button").first().click();
  await page.getByRole("menuitem", { name: "Remove" }).click();
  await bytes.waitFor({ state: "detached" });
  await page.reload();
  await events.getByText("absent.test", { exact: true }).waitFor();
  expect(await bytes.count()).toBe(0);
});

test("the columns of the events move, hide and change their width, and stay so", async ({ page }) => {
  await openView(page, results, "events");
  const headers = page.getByRole("columnheader");
  const names = () => headers.evaluateAll((all) => all.map((each) => each.textContent));
  expect((await names()).slice(0, 4)).toEqual(["#", "Time", "Δ", "Type"]);
  const name = (label: string) => page.getByRole("button", { name: label, exact: true });
  await name("Type").dragTo(name("Time"));
  await name("#").click();
  await page.getByRole("menuitem", { name: "Move right" }).click();
  await name("Δ").click();
  await page.getByRole("menuitem", { name: "Hide" }).click();
  const width = async () => (await headers.nth(1).boundingBox())?.width;
  const handle = page.getByRole("separator", { name: "Width of #" });
  await handle.press("ArrowRight");
  await expect.poll(width).toBe(80);
  const box = (await handle.boundingBox()) ?? { x: 0, y: 0 };
  await page.mouse.move(box.x + 4, box.y + 9);
  await page.mouse.down();
  await page.mouse.move(box.x + 24, box.y + 9, { steps: 3 });
  await expect.poll(width).toBe(100);
  await page.mouse.up();
  await page.reload();
  await expect.poll(width).toBe(100);
  expect((await names()).slice(0, 4)).toEqual(["Type", "#", "Time", "Process"]);
  await handle.dblclick();
  await expect.poll(width).toBe(72);
});

test("the filter suggests the error, and the errors of the session", async ({ page, faults }) => {
  faults.allow(/status of 400.*filter=data.error/); // while the filter is being typed
  await openView(page, results, "events");
  const field = await filterField(page);
  await field.click();
  await page.keyboard.type("resul");
  await complete(page, /^data\.error/);
  await page.keyboard.type("= ENO");
  await complete(page, "ENOENT");
  await page.keyboard.press("Enter");
  await countText(page).getByText("1 event selected").waitFor();
});

test("a long filter is whole on screen, and loses its conditions one by one", async ({ page }) => {
  const long = Array.from({ length: 12 }, (_, i) => `target !=  "/tmp/${"x".repeat(20)}/${i}"`).join(" and ");
  await openView(
    page,
    session,
    "events",
    `?filter=${encodeURIComponent(`type = file_operation and ${long}`)}`,
  );
  const field = await filterField(page);
  const scroller = page.locator(".cm-scroller");
  expect(await scroller.evaluate((element) => element.scrollWidth - element.clientWidth)).toBe(0);
  const heights = await scroller.evaluate((element) => [element.clientHeight, element.scrollHeight]);
  expect(heights[0]).toBeGreaterThan(60);
  expect(heights[1]).toBeGreaterThan(60);
  await expect(field.getByText("file_operation").isVisible()).resolves.toBe(true);

  await runFilter(page, "process = sh  and not operation=OpenFile and (target: /etc/* or target: /tmp/*)");
  const chips = page.getByRole("list", { name: "Conditions" }).getByRole("listitem");
  await expect.poll(() => chips.count()).toBe(3);
  const filter = () => new URL(page.url()).searchParams.get("filter");
  await chips.nth(1).getByRole("button", { name: "Remove not operation=OpenFile" }).click();
  await expect.poll(filter).toBe("process = sh and (target: /etc/* or target: /tmp/*)");
  await page.keyboard.press("Delete");
  await expect.poll(filter).toBe("process = sh");
  await expect.poll(() => field.textContent()).toBe("process = sh");
  expect(await chips.count()).toBe(1);
  await page.keyboard.press("Backspace");
  await expect.poll(filter).toBeNull();
  expect(await chips.count()).toBe(0);
  expect(await field.evaluate((element) => element === document.activeElement)).toBe(true);
});

test("the export has the selected events, in every format", async ({ page }) => {
  await openView(page, session, "events", "?filter=operation%20%3D%20DeleteFile");
  const wanted = story.filter((event) => operationOf(event) === "DeleteFile");
  const save = async (name: RegExp) => {
    await page.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("menuitem", { name }).click(),
    ]);
    return readFile(await download.path(), "utf8");
  };
  const timesOf = (events: { timestamp: string }[]) =>
    events.map((event) => new Date(event.timestamp).getTime()).sort();
  const lines = (await save(/^NDJSON/)).trimEnd().split("\n");
  const ndjson: PostedEvent[] = lines.map((line) => JSON.parse(line));
  expect(timesOf(ndjson)).toEqual(timesOf(wanted));
  expect(new Set(ndjson.map(operationOf))).toEqual(new Set(["DeleteFile"]));
  expect(timesOf(JSON.parse(await save(/^JSON/)))).toEqual(timesOf(wanted));
  expect((await save(/^CSV/)).trimEnd().split("\n")).toHaveLength(wanted.length + 1);
  expect((await save(/^Elastic/)).trimEnd().split("\n")).toHaveLength(wanted.length);
  await runFilter(page, "");
  const har = JSON.parse(await save(/^HAR/));
  expect(har.log.entries).toHaveLength(
    story.filter(
      (event) =>
        event.event_type === "http_network_operation" && (event.data as { kind: string }).kind === "request",
    ).length,
  );
});

test("frequent actions have keys", async ({ page, faults }) => {
  faults.allow(/status of 400.*filter=/); // while the filter is being typed
  await openView(page, session, "events");
  await page.keyboard.press("?");
  const sheet = page.getByRole("dialog");
  await sheet.getByText("Write a filter").waitFor();
  await page.keyboard.press("Escape");
  await sheet.waitFor({ state: "detached" });
  for (const [index, view] of views.entries()) {
    await page.keyboard.press(String(index + 1));
    await rows(page, view).first().waitFor();
  }
  await page.keyboard.press("1");
  await rows(page, "events").first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("o");
  await expect.poll(() => new URL(page.url()).searchParams.get("seq")).toBe("1");
  await page.keyboard.press("j");
  await expect.poll(() => new URL(page.url()).searchParams.get("seq")).toBe("2");
  await page.keyboard.press("Escape");
  await expect.poll(() => new URL(page.url()).searchParams.get("seq")).toBeNull();
  await filterField(page);
  await page.keyboard.press("/");
  await page.keyboard.type("operation = RenameFile");
  await page.keyboard.press("Enter");
  await page.getByText(`${count((event) => operationOf(event) === "RenameFile")} events selected`).waitFor();
});

test("a view of another kind opens by keys too", async ({ page }) => {
  await openView(page, session, "http");
  await page.keyboard.press("j");
  await page.getByRole("complementary", { name: "Request" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("complementary", { name: "Request" }).waitFor({ state: "detached" });
  await page.keyboard.press("g");
  await page.getByRole("table", { name: "Sessions" }).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("list", { name: "Steps" }).waitFor();
});

test("on a phone the rows begin in the first third, and all tabs have their names", async ({
  openWindow,
}) => {
  const { context } = await openWindow({ viewport: telephone, hasTouch: true });
  const page = await context.newPage();
  for (const view of views) {
    const found = await openView(page, session, view);
    const top = (await found.first().boundingBox())?.y ?? telephone.height;
    const most = view === "events" ? 0.32 : 0.4;
    expect(top / telephone.height, `where the rows of ${view} begin`).toBeLessThanOrEqual(most);
  }
  const tabs = page.getByRole("navigation", { name: "Views" }).getByRole("link");
  const shown = await tabs.evaluateAll((links) =>
    links.map((link) => {
      const text = document.createRange();
      text.selectNodeContents(link);
      const { left, right } = link.getBoundingClientRect();
      const isInSight =
        left >= 0 && right <= innerWidth && text.getBoundingClientRect().width <= right - left;
      return { name: link.textContent, isInSight };
    }),
  );
  const names = ["Summary", "Events", "Processes", "Files", "HTTP", "Network", "Findings"];
  expect(shown).toEqual(names.map((name) => ({ name, isInSight: true })));
});
