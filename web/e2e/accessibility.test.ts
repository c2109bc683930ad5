import axe, { type RunOptions } from "axe-core";
import type { Page } from "playwright-core";
import type { PostedEvent } from "./harness";
import { openView, runFilter, views } from "./pages";
import { storyEvents } from "./story";
import { desk, expect, telephone, test } from "./test";

let session: string;

test.beforeAll(async ({ backend }) => {
  session = await backend.createSession("invoice.sh", "#!/bin/sh\n");
  const events = storyEvents(new Date("2026-11-20T10:00:00Z"));
  const secret: PostedEvent = {
    event_type: "file_operation",
    timestamp: "2026-11-20T10:00:00Z",
    source: "os-pulse-agent",
    data: {
      operation: "OpenFile",
      filePath: "/etc/shadow",
      status: 3,
      metadata: { processName: "cat", processId: 7 },
    },
  };
  await backend.postEvents(session, [...events, secret]);
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
/** The rules whose result can differ between themes that draw the same elements in the same places. */
const ofColors: RunOptions = { ...standards, runOnly: ["color-contrast", "link-in-text-block"] };

/**
 * Returns the violations of WCAG 2.2 AA that axe finds in both themes, one per line. If a
 * dialog or menu is open, axe checks only that: the rest of the page cannot be reached then.
 * Of rows that differ only in their texts and numbers, it checks one. In the second theme it
 * checks only the colors, unless that theme changes an element.
 */
async function violations(page: Page, within: string): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const lines: string[] = [];
  let drawn = "";
  for (const colorScheme of ["dark", "light"] as const) {
    await page.emulateMedia({ colorScheme });
    const { form, found } = await page.evaluate(
      async ([where, all, some, before]) => {
        // An element has its final colors when its animation has ended.
        await Promise.all(
          document
            .getAnimations()
            .filter((a) => a.effect?.getTiming().iterations !== Number.POSITIVE_INFINITY)
            .map((a) => a.finished),
        );
        const formOf = (element: Element) =>
          element.outerHTML
            .replaceAll(/>[^<]+/g, ">x")
            .replaceAll(/( (?:title|aria-label|id|[a-z-]*by)=")[^"]+/g, "$1x")
            .replaceAll(/\d+/g, "0");
        const places = [...document.querySelectorAll("body *")].map((element) => {
          const { x, y, width, height } = element.getBoundingClientRect();
          return [x, y, width, height, element.checkVisibility({ visibilityProperty: true })].join();
        });
        const form = `${formOf(document.body)} ${places.join(" ")}`;
        const seen = new Set<string>();
        const repeated = [...document.querySelectorAll("[role=row]")].filter(
          (row) => seen.size === seen.add(`${getComputedStyle(row).backgroundColor} ${formOf(row)}`).size,
        );
        // The arrow keys of the field move in the list of completions; the list takes no focus.
        const exclude = [...document.querySelectorAll(".cm-tooltip"), ...repeated];
        const { axe: checker } = globalThis as unknown as { axe: typeof axe };
        const options = form === before ? some : all;
        const { violations: found } = await checker.run({ include: where, exclude }, options);
        return { form, found };
      },
      [within, standards, ofColors, drawn] as const,
    );
    drawn = form;
    for (const { id, nodes } of found)
      for (const { html, failureSummary } of nodes.slice(0, 5))
        lines.push(`${colorScheme}: ${id}: ${html.slice(0, 160)} ${failureSummary?.slice(0, 300) ?? ""}`);
  }
  return lines;
}

for (const [name, viewport] of Object.entries({ desk, telephone })) {
  test(`WCAG 2.2 AA in both themes, ${name}`, async ({ openWindow }) => {
    const { context, faults } = await openWindow({ viewport });
    faults.allow(/status of 400.*(filter=|rules\/test)/);
    const page = await context.newPage();
    const found: Record<string, string[]> = {};
    const check = async (where: string, within = "body") => {
      const list = await violations(page, within);
      if (list.length > 0) found[where] = list;
    };
    await page.goto("/");
    await page.getByRole("row", { name: /invoice/ }).waitFor();
    await check("sessions");
    for (const [path, label] of [
      ["/findings", "Findings"],
      ["/rules", "Rules"],
    ]) {
      await page.goto(path ?? "");
      await page.getByRole("grid", { name: label }).getByRole("link").first().waitFor();
      await check(label ?? "");
    }
    await page.goto("/rules/new");
    const rule = page.getByRole("textbox", { name: "Rule", exact: true });
    await rule.click();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.insertText("title: a # b\nlogsource: 'x'\nlevel: 5\nnonsense");
    await page.locator(".rule-fault-reason").waitFor();
    await check("a rule with a fault");
    await page.goto("/rules?text=read+the+password+hashes");
    await page.getByRole("grid", { name: "Rules" }).getByRole("link").first().click();
    await page.getByText("The rule is valid.").waitFor();
    await check("a rule");
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
    await openView(page, session, "findings");
    const matrix = page.getByRole("region", { name: "ATT&CK" });
    await matrix.getByRole("button", { name: "All tactics" }).click();
    await matrix.getByRole("button", { pressed: false }).nth(1).click();
    await page.getByRole("button", { name: "Show all findings" }).waitFor();
    await check("findings");
    await openView(page, session, "events", "?seq=40");
    for (const tab of ["JSON", "Content", "Raw", "Related"]) {
      await page.getByRole("tab", { name: tab }).click();
      await page.getByRole("tabpanel", { name: tab }).waitFor();
      await check(`${tab} of an event`);
    }
    await page.keyboard.press("Escape");
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

test("nothing moves with prefers-reduced-motion", async ({ openWindow }) => {
  const { context } = await openWindow({ reducedMotion: "reduce" });
  const page = await context.newPage();
  await openView(page, session, "events");
  await page.getByRole("button", { name: "Export" }).click();
  await page.getByRole("menu").waitFor();
  const moving = await page.evaluate(() => document.getAnimations().length);
  expect(moving).toBe(0);
  // Even the shortest transition delays a height that the table needs before it can scroll to its end.
  const durations = await page
    .locator("[role=grid], [role=grid] *")
    .evaluateAll((all) => [...new Set(all.map((element) => getComputedStyle(element).transitionDuration))]);
  expect(durations).toEqual(["0s"]);
});
