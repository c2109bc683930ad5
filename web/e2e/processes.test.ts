import type { Page } from "playwright-core";
import type { PostedEvent } from "./harness";
import { complete, filterField, openView, press, rows } from "./pages";
import { desk, expect, test } from "./test";

const began = Date.parse("2026-11-20T12:00:00Z");
const at = (seconds: number) => new Date(began + seconds * 1000).toISOString();

function creation(seconds: number, parent: number, pid: number, name: string): PostedEvent {
  const data = { newProcessId: pid, imagePath: `/bin/${name}`, metadata: { processId: parent } };
  return { event_type: "process_creation", timestamp: at(seconds), source: "test", data };
}

function read(seconds: number, pid: number, processName: string, filePath: string): PostedEvent {
  const data = { operation: "ReadFile", filePath, metadata: { processId: pid, processName } };
  return { event_type: "file_operation", timestamp: at(seconds), source: "test", data };
}

/** The status of the process tree: how many processes it has, and how many match. */
const status = (page: Page) =>
  page.getByRole("region", { name: "processes", exact: true }).getByRole("status");
const focused = (page: Page) => page.evaluate(() => document.activeElement?.textContent);
const row = (page: Page, text: RegExp | string) => rows(page, "processes").filter({ hasText: text });

test("of 10,403 processes, one that started late is found, and so is everything around it", async ({
  page,
  backend,
}) => {
  const session = await backend.createSession("fork-bomb.sh", "#!/bin/sh\n");
  const events = [creation(0, 1, 2, "bomb"), creation(0, 2, 3, "first")];
  for (let i = 0; i < 10_400; i++) events.push(creation(1 + i / 100, i < 200 ? 3 : 2, 100 + i, `worker${i}`));
  await backend.postEvents(session, events);
  await openView(page, session, "processes");
  await expect.poll(() => status(page).textContent()).toBe("10,403 processes");
  await row(page, "worker0").first().waitFor();

  // Pages load where the reader goes.
  await rows(page, "processes").nth(1).focus();
  await page.keyboard.press("End");
  await row(page, "worker10399").waitFor();
  await expect.poll(() => focused(page)).toContain("worker10399");
  const box = await row(page, "worker10399").boundingBox();
  expect(box && box.y + box.height).toBeLessThanOrEqual(desk.height);
  await page.keyboard.press("ArrowLeft"); // to its parent, whose page is not loaded any more
  await expect.poll(() => focused(page)).toContain("bomb");

  // A closed process hides its descendants on all pages.
  await row(page, "first").getByRole("button", { name: "Close" }).click();
  await row(page, "worker200").first().waitFor();
  expect(await rows(page, "processes").nth(3).textContent()).toContain("worker200");

  const search = page.getByRole("searchbox", { name: "Search processes" });
  await search.fill("worker10399");
  await row(page, "worker10399").waitFor();
  expect(await status(page).textContent()).toBe("1 of 10,403 processes");
  await row(page, "worker10399").click();
  await page.getByRole("region", { name: "Chosen process" }).getByText("/bin/worker10399").waitFor();
  await search.fill("no such process");
  await page.getByText("No matching processes").waitFor();
  expect(await status(page).textContent()).toBe("0 of 10,403 processes");

  // The chosen process comes into sight when the view opens, and a new one appears.
  await page.reload();
  await row(page, "worker10399").waitFor();
  await backend.postEvents(session, [creation(200, 10_499, 20_000, "newest")]);
  await row(page, "newest").waitFor();
  expect(await status(page).textContent()).toBe("10,404 processes");
});

/** An explorer starts a shell and, after that has exited, another program with the same pid. */
const reused = [
  creation(1, 10, 20, "shell"),
  ...[2, 3, 4].map((seconds) => read(seconds, 20, "shell", "/tmp/a")),
  creation(5, 10, 20, "again"),
  ...[6, 7].map((seconds) => read(seconds, 20, "again", "/tmp/a")),
  read(8, 20, "again", "/tmp/b"),
];

test("the filter and the time span apply to the process tree, which keeps the ancestors", async ({
  page,
  backend,
}) => {
  const session = await backend.createSession("tree.sh", "#!/bin/sh\n");
  await backend.postEvents(session, reused);
  await openView(page, session, "processes", "?filter=target%20%3D%20%2Ftmp%2Fb");
  await expect.poll(() => status(page).textContent()).toBe("1 of 3 processes");
  expect(await rows(page, "processes").count()).toBe(2);
  await rows(page, "processes").first().getByTitle("Started a process that matches").waitFor();
  expect(await row(page, "again").textContent()).toMatch(/again20.* s1FFiles 1$/); // of its three
  await openView(page, session, "processes", `?from=${at(2)}&to=${at(3)}`);
  await expect.poll(() => status(page).textContent()).toBe("1 of 3 processes");
  expect(await row(page, "shell").textContent()).toMatch(/s2FFiles 2$/);
  await openView(page, session, "processes", "?filter=type%20%3D%20process_creation");
  await expect.poll(() => rows(page, "processes").count()).toBe(1); // nobody else created one

  await page.goto(`/sessions/${session}/processes?filter=nothing`);
  await page.getByText("No matching processes").waitFor();
  await page.getByRole("button", { name: "Show all processes" }).click();
  await row(page, "shell").waitFor();
});

test("choosing a process of an event or a file does not choose others of its pid", async ({
  page,
  faults,
  backend,
}) => {
  faults.allow(/status of 400.*filter=only/); // while the filter is being typed
  const session = await backend.createSession("reused.sh", "#!/bin/sh\n");
  await backend.postEvents(session, reused);
  const events = await openView(page, session, "events");
  await events.getByText("again", { exact: true }).first().click();
  await page.getByRole("menuitem", { name: "Only this process" }).click();
  await page.getByText("3 events selected").waitFor();

  await page.goto(`/sessions/${session}?seq=8`);
  const details = page.getByRole("complementary", { name: "Event 8" });
  await details.getByRole("tab", { name: "Related" }).click();
  await details.getByRole("button", { name: /^Same process.* 3$/ }).click();
  await page.getByText("3 events selected").waitFor();

  const files = await openView(page, session, "files", "?file=%2Ftmp%2Fa");
  await files.first().waitFor();
  const file = page.getByRole("complementary", { name: "File" });
  await file.getByRole("heading", { name: "2 processes" }).waitFor();
  await press(file.getByRole("button", { name: "shell 20 3" }));
  await page.keyboard.press("1");
  await page.getByText("3 events selected").waitFor();
  expect(new URL(page.url()).searchParams.get("process")).toBe("shell");

  await openView(page, session, "events");
  await (await filterField(page)).click();
  await page.keyboard.type("only(aga");
  await complete(page, /^again 20/);
  await page.keyboard.press("Enter");
  await page.getByText("3 events selected").waitFor();
  expect(new URL(page.url()).searchParams.get("filter")).toMatch(/^only\("\d+"\)$/);
});
