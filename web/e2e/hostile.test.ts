import type { Page } from "playwright-core";
import { hostileEvents, payloads, texts } from "./hostile";
import { openView, press, rows, viewPath, views } from "./pages";
import { expect, test } from "./test";

const began = new Date("2026-11-20T10:00:00Z");
const { events, large } = hostileEvents(began);
let session: string;

test.beforeAll(async ({ backend }) => {
  session = await backend.createSession(`${payloads.image}${payloads.rightToLeft}`, "MZ harmless");
  await backend.postEvents(session, events);
  for (const event of large) await backend.postEvents(session, [event]);
  const tags = [payloads.script.slice(0, 50), payloads.rightToLeft];
  await fetch(`${backend.url}/api/sessions/${session}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name: `${payloads.script}\u202E`, tags, notes: payloads.svg }),
  });
});

/**
 * Finds faults in the page's elements: foreign addresses, elements that only an event can
 * have inserted, and hidden characters in text or attributes.
 */
function inspect(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const hides =
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the test searches for these
      /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u2069\uD800-\uDFFF\uFEFF\u{E0000}-\u{E007F}]/u;
    const own = /^(\/|#|blob:|$)/;
    const addresses = [
      "href",
      "src",
      "srcset",
      "action",
      "formaction",
      "data",
      "poster",
      "xlink:href",
      "ping",
    ];
    for (const element of document.querySelectorAll("*")) {
      const name = element.localName;
      if (
        /^(iframe|object|embed|base|form|meta|script|link|frame|portal)$/.test(name) &&
        !element.closest("head")
      )
        if (name !== "form" || element.hasAttribute("action")) found.push(`<${name}>`);
      for (const attribute of element.attributes) {
        if (attribute.name.startsWith("on")) found.push(`<${name} ${attribute.name}>`);
        if (addresses.includes(attribute.name) && !element.closest("head") && !own.test(attribute.value))
          found.push(`<${name} ${attribute.name}=${attribute.value.slice(0, 100)}>`);
        if (hides.test(attribute.value))
          found.push(
            `hidden in <${name} ${attribute.name}=${JSON.stringify(attribute.value.slice(0, 100))}>`,
          );
        if (attribute.value.length > 20_000) found.push(`<${name} ${attribute.name}> is long`);
      }
    }
    for (const { src } of document.images)
      if (src !== "" && !src.startsWith("blob:")) found.push(`image ${src}`);
    const texts = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      const text = node.nodeValue ?? "";
      if (hides.test(text)) found.push(`hidden: ${JSON.stringify(text.slice(0, 100))}`);
    }
    if (hides.test(document.title)) found.push(`title ${JSON.stringify(document.title)}`);
    return [...new Set(found)];
  });
}

async function expectHarmless(page: Page, where: string): Promise<void> {
  expect(await inspect(page), where).toEqual([]);
}

for (const view of views) {
  test(`nothing of an event runs or hides in ${view}`, async ({ page }) => {
    const found = await openView(page, session, view);
    await page.getByText("⟨202E⟩").first().waitFor();
    await expectHarmless(page, view);
    // Scroll to the end one viewport at a time, because only visible rows are drawn.
    const table = page.getByRole(view === "processes" ? "treegrid" : "grid").first();
    const count = Number(await table.getAttribute("aria-rowcount"));
    let last = 0;
    await found.first().hover();
    while (last < count) {
      const before = last;
      await page.mouse.wheel(0, 500);
      await expect
        .poll(async () => {
          const shown = await found.last().getAttribute("aria-rowindex");
          last = Math.max(last, Number(shown));
          return last > before || last >= count;
        })
        .toBe(true);
      await expectHarmless(page, `${view}, row ${last}`);
    }
  });
}

test("nothing of an event runs or hides in its details", async ({ page }) => {
  await openView(page, session, "events", "?seq=1");
  for (let seq = 1; seq <= events.length; seq++) {
    const details = page.getByRole("complementary", { name: `Event ${seq}`, exact: true });
    const tabs = details.getByRole("tab");
    await tabs.first().waitFor();
    // Every tab of every event would take minutes: each event shows one tab, and each of the nine kinds all of them.
    const tab = tabs.nth((seq + Math.floor((seq - 1) / 9)) % 5);
    await press(tab);
    await details.getByRole("tabpanel").waitFor();
    await expectHarmless(page, `event ${seq}, ${await tab.textContent()}`);
    if (seq < events.length) await press(details.getByRole("button", { name: "Next event" }));
  }
});

test("nothing of a request runs or hides in its parts", async ({ page }) => {
  const flows = await openView(page, session, "http");
  const count =
    Number(await page.getByRole("grid", { name: "HTTP requests" }).getAttribute("aria-rowcount")) - 1;
  expect(count).toBeGreaterThanOrEqual(texts.length);
  const details = page.getByRole("complementary", { name: "Request" });
  for (let i = 0; i < count; i++) {
    await press(flows.nth(i));
    await details.getByText("Request headers").waitFor();
    for (const name of ["Query", "Request", "Response", "Headers"]) {
      const tab = details.getByRole("tab", { name: new RegExp(`^${name}`) });
      if (!(await tab.isEnabled())) continue;
      await press(tab);
      await details.getByRole("tabpanel").waitFor();
      await expectHarmless(page, `flow ${i}, ${name}`);
    }
  }
});

test("nothing runs or hides in the details of a process, a file and a conversation", async ({ page }) => {
  for (const view of ["processes", "files", "network"] as const) {
    const found = await openView(page, session, view);
    for (let i = 0; i < Math.min(12, await found.count()); i++) {
      await press(found.nth(i));
      await expect.poll(() => found.nth(i).getAttribute("aria-selected")).toBe("true");
      await expectHarmless(page, `${view}, row ${i}`);
      if (view === "processes") await press(found.nth(i));
    }
  }
});

test("events of 10 MB do not stop the page", async ({ browser, page }) => {
  const devtools = await browser.newBrowserCDPSession();
  /** The processor time of all pages so far, in seconds. Other programs do not change it. */
  const used = async (): Promise<number> => {
    const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
    return processInfo
      .filter(({ type }) => type === "renderer")
      .reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  for (const [index] of large.entries()) {
    const seq = events.length + index + 1;
    await page.goto(viewPath(session, "events", `?seq=${seq}`));
    const details = page.getByRole("complementary", { name: `Event ${seq}`, exact: true });
    for (const name of ["Fields", "JSON", "Content", "Raw", "Related"]) {
      const before = await used();
      await details.getByRole("tab", { name }).click();
      await details.getByRole("tabpanel", { name }).waitFor();
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
      expect((await used()) - before, `${name} of event ${seq}`).toBeLessThan(3);
      const elements = await page.evaluate(() => document.querySelectorAll("*").length);
      expect(elements, `elements with ${name} of event ${seq}`).toBeLessThan(5000);
    }
  }
});

test("nothing of a session runs or hides in the list, its menu and its dialogs", async ({ page }) => {
  await page.goto("/");
  const table = page.getByRole("table", { name: "Sessions" });
  await table.getByText("⟨202E⟩").first().waitFor();
  await expectHarmless(page, "the list");
  await table
    .getByRole("button", { name: /^More of/ })
    .first()
    .click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("dialog").waitFor();
  await expectHarmless(page, "the question");
  await page.getByRole("button", { name: "Cancel" }).click();
  await openView(page, session, "events");
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByRole("dialog").waitFor();
  await expectHarmless(page, "the start");
  await page.keyboard.press("Escape");
  await rows(page, "events").first().waitFor();
  expect(await page.title()).not.toMatch(/\u202E/);
});
