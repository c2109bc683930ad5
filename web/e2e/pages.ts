import type { Locator, Page } from "playwright-core";
import { until } from "./harness";

export const views = ["events", "processes", "files", "http", "network"] as const;
/** The findings and the summary have no rows of events, so tests of all views leave them out. */
export type ViewName = (typeof views)[number] | "findings" | "summary";

export function viewPath(sessionId: string, view: ViewName, search = ""): string {
  return `/sessions/${sessionId}/${view}${search}`;
}

/** The rows of a view's table, without the header. */
export function rows(page: Page, view: ViewName): Locator {
  const region = page.getByRole("region", { name: view, exact: true });
  return region.getByRole("row").filter({ has: page.getByRole("gridcell") });
}

/** Opens a view of a session, and waits for its first row. */
export async function openView(page: Page, sessionId: string, view: ViewName, search = ""): Promise<Locator> {
  await page.goto(viewPath(sessionId, view, search));
  const found = rows(page, view);
  await found.first().waitFor();
  return found;
}

/** The field of the filter, once the editor has replaced the plain field. */
export async function filterField(page: Page): Promise<Locator> {
  await page.locator(".cm-content").waitFor();
  return page.getByRole("textbox", { name: "Filter", exact: true });
}

/** Replaces the filter, and runs it. */
export async function runFilter(page: Page, filter: string): Promise<void> {
  const field = await filterField(page);
  await field.click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(filter);
  // Enter would take a completion if the list opens before it.
  await page.getByRole("search").getByRole("button", { name: "Run", exact: true }).click();
  await field.focus();
}

/** Takes a completion by mouse. The list ignores clicks just after it has opened or changed. */
export async function complete(page: Page, name: string | RegExp): Promise<void> {
  const option = page.getByRole("option", { name });
  await option.waitFor();
  await until("the completion is taken", async () => {
    await option.click({ timeout: 1000 }).catch(() => {});
    return (await option.count()) === 0;
  });
}

/** The events that a filter selects, from the backend. */
export function countText(page: Page): Locator {
  return page.getByRole("region", { name: "events", exact: true }).getByText(/^[\d,]+ events?( selected)?$/);
}

/**
 * Clicks by events of the page. A click of Playwright moves the mouse and waits for frames,
 * which takes longer than drawing what most clicks open.
 */
export async function press(target: Locator): Promise<void> {
  await target.evaluate((element) => {
    for (const type of ["mousedown", "mouseup", "click"])
      element.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true }));
  });
}

/** Stops the monitoring of the session on the page, and answers the question. */
export async function stopMonitoring(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Stop" }).click();
  const question = page.getByRole("dialog", { name: "Stop monitoring?" });
  await question.getByRole("button", { name: "Stop" }).click();
}
