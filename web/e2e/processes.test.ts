import type { Page } from "playwright-core";
import type { PostedEvent } from "./harness";
import { openView, rows } from "./pages";
import { desk, expect, test } from "./test";

const began = Date.parse("2026-11-20T12:00:00Z");
const at = (seconds: number) => new Date(began + seconds * 1000).toISOString();

function creation(seconds: number, parent: number, pid: number, name: string): PostedEvent {
  const data = { newProcessId: pid, imagePath: `/bin/${name}`, metadata: { processId: parent } };
  return { event_type: "process_creation", timestamp: at(seconds), source: "test", data };
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
