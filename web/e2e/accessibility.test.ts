import axe, { type RunOptions } from "axe-core";
import type { Page } from "playwright-core";
import { openView, runFilter, views } from "./pages";
import { storyEvents } from "./story";
import { desk, expect, telephone, test } from "./test";

let session: string;

test.beforeAll(async ({ backend }) => {
  session = await backend.createSession("invoice.sh", "#!/bin/sh\n");
  await backend.postEvents(session, storyEvents(new Date("2026-11-20T10:00:00Z")));
  await fetch(`${backend.url}/api/sessions/${session}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tags: ["mail", "urgent"] }),
  });
});

// The details of what passes would take four times as long as the checks.
const standards: RunOptions = {
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
  resultTypes: ["violations"],
  selectors: false,
};

/**
 * Returns the violations of WCAG 2.2 AA that axe finds, one per line. If a dialog or menu
 * is open, axe checks only that: the rest of the page cannot be reached then.
 */
async function violations(page: Page, within = "body"): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  // An element has its final colors when its animation has ended.
  await page.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .filter((a) => a.effect?.getTiming().iterations !== Number.POSITIVE_INFINITY)
        .map((a) => a.finished),
    ),
  );
  // The arrow keys of the field move in the list of completions; the list takes no focus.
  const context = { include: within, exclude: ".cm-tooltip" };
  const found = await page.evaluate(
    async ([where, options]) => {
      const { axe: checker } = globalThis as unknown as { axe: typeof axe };
      return (await checker.run(where, options)).violations;
    },
    [context, standards] as const,
  );
  return found.flatMap(({ id, nodes }) =>
    nodes
      .slice(0, 5)
      .map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary?.slice(0, 300) ?? ""}`),
  );
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const [name, viewport] of Object.entries({ desk, telephone })) {
    test(`WCAG 2.2 AA, ${colorScheme}, ${name}`, async ({ openWindow }) => {
      const { context, faults } = await openWindow({ colorScheme, viewport });
      faults.allow(/status of 400.*filter=/);
      const page = await context.newPage();
      const found: Record<string, string[]> = {};
      const check = async (where: string, within?: string) => {
        const list = await violations(page, within);
        if (list.length > 0) found[where] = list;
      };
      await page.goto("/");
      await page.getByRole("row", { name: /invoice/ }).waitFor();
      await check("sessions");
      for (const view of views) {
        const rows = await openView(page, session, view);
        await check(view);
        await rows.nth(view === "processes" ? 1 : 0).click({ position: { x: 24, y: 12 } });
        await page
          .getByRole("complementary")
          .or(rows.and(page.locator("[aria-selected=true]")))
          .first()
          .waitFor();
        await check(`${view} with something chosen`);
      }
      await openView(page, session, "events", "?seq=40");
      for (const tab of ["JSON", "Content", "Raw", "Related"]) {
        await page.getByRole("tab", { name: tab }).click();
        await page.getByRole("tabpanel", { name: tab }).waitFor();
        await check(`${tab} of an event`);
      }
      await openView(page, session, "events");
      await runFilter(page, "operation = (");
      await page.getByText(/^Column \d+: /).waitFor();
      await check("a wrong filter");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Start" }).click();
      await page.getByRole("dialog").waitFor();
      await check("the start", "[role=dialog]");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Export" }).click();
      await page.getByRole("menu").waitFor();
      await check("the export", "[role=menu]");
      await page.keyboard.press("Escape");
      await page.getByRole("grid", { name: "Events" }).focus();
      await page.keyboard.press("?");
      await page.getByRole("dialog").waitFor();
      await check("the keys", "[role=dialog]");
      expect(found).toEqual({});
    });
  }
}

test("nothing moves with prefers-reduced-motion", async ({ openWindow }) => {
  const { context } = await openWindow({ reducedMotion: "reduce" });
  const page = await context.newPage();
  await openView(page, session, "events");
  await page.getByRole("button", { name: "Export" }).click();
  await page.getByRole("menu").waitFor();
  const moving = await page.evaluate(() =>
    document
      .getAnimations()
      .filter((a) => Number(a.effect?.getComputedTiming().duration) > 1)
      .map((a) => (a as CSSAnimation).animationName),
  );
  expect(moving).toEqual([]);
});
