import { violations } from "./axe";
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
