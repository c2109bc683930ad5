import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Locator } from "playwright-core";
import type { Backend, PostedEvent } from "./harness";
import { countText, openView, rows } from "./pages";
import { desk, expect, telephone, test } from "./test";

/** The events of a program that behaves as malware does, which the agent recorded. */
function recorded(name: string): PostedEvent[] {
  const file = new URL(`../../test/recording/testdata/hostile/${name}.ndjson.zst`, import.meta.url);
  const text = execFileSync("zstd", ["-dc", fileURLToPath(file)], { maxBuffer: 64 << 20, encoding: "utf8" });
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PostedEvent);
}

async function post(backend: Backend, name: string): Promise<string> {
  const session = await backend.createSession(`${name}.sh`, `#!/bin/sh\necho ${Math.random()}\n`);
  const events = recorded(name);
  for (let at = 0; at < events.length; at += 1000)
    await backend.postEvents(session, events.slice(at, at + 1000));
  return session;
}

/** Clicks a button until it is expanded: a click has no effect if the button moves meanwhile. */
async function expand(button: Locator): Promise<void> {
  const isExpanded = async () => (await button.getAttribute("aria-expanded")) === "true";
  await expect
    .poll(async () => {
      if (!(await isExpanded())) await button.click();
      return isExpanded();
    })
    .toBe(true);
}

test("a summary of a part of the events says so, until it has all", async ({ backend, page }) => {
  const session = await post(backend, "dropper");
  let isRead = false;
  await page.route(/\/story$/, async (route) => {
    const response = await route.fetch();
    const story = (await response.json()) as object;
    await route.fulfill({
      response,
      json: isRead ? story : { ...story, steps: [], findings: [], up_to_seq: 1 },
    });
  });
  await page.goto(`/sessions/${session}`);
  await page.getByText(/^The summary covers 1 of [\d,]+ events so far\.$/).waitFor();
  await page.getByText("Nothing stands out so far.", { exact: true }).waitFor();
  isRead = true;
  await page.getByRole("list", { name: "Steps" }).waitFor();
  await page.getByText(/^The summary covers/).waitFor({ state: "detached" });
});

test("the summary of a dropper tells its deeds on the first screen", async ({ backend, page }) => {
  const session = await post(backend, "dropper");
  await page.goto(`/sessions/${session}`);
  const steps = page.getByRole("list", { name: "Steps" });
  await steps.getByText("A program read the password hashes").waitFor();
  expect(new URL(page.url()).pathname).toBe(`/sessions/${session}/summary`);
  const deeds = [
    /cat wrote ~\/dropper \(764 B\) → made executable by chmod → run as process \d+/,
    /dropper made a program start at login of the desktop: ~\/\.config\/autostart\/updates\.desktop \(91 B\).*A program made itself start at login of the desktop/,
    /dropper changed a shell start-up file of a user: ~\/\.bashrc \(28 B\).*A shell start-up file of a user was changed/,
    /curl asked GET http:\/\/127\.0\.0\.1:39580\/stage2 \(200\) → wrote ~\/\.cache\/\.x11 \(42 B\) → made executable by chmod → run as process \d+/,
    /cat tried \/etc\/shadow: permission denied/,
    /dropper decoded base64: base64 -d/,
    /python3\.11 looked up update\.example: no such name/,
    /dropper searched for files that run as root: find \/usr\/bin \/usr\/sbin \/etc -perm -4000 -type f/,
    /rm deleted ~\/dropper, the program that was running/,
  ];
  for (const deed of deeds) {
    const step = steps.getByRole("listitem").filter({ hasText: deed });
    const box = await step.first().boundingBox();
    expect(box && box.y + box.height, String(deed)).toBeLessThanOrEqual(desk.height);
  }

  // The first line counts, and leads to the events.
  const short = page.getByRole("list", { name: "In short" });
  await short.getByText("1 program downloaded and run").waitFor();
  await short.getByRole("link", { name: "1 secret refused" }).click();
  await countText(page).getByText("1 event selected").waitFor();
  await page.goBack();

  // By mouse: the details of a step, beside it. By key: the next step.
  await steps.getByText("permission denied").click();
  const detail = page.getByRole("complementary", { name: /^Event / });
  await detail.getByText("/etc/shadow").first().waitFor();
  await page.keyboard.press("ArrowDown");
  await expect
    .poll(() => steps.locator("[data-step][aria-pressed=true]").textContent())
    .toContain("base64 -d");
  await page.keyboard.press("Escape");
  await detail.waitFor({ state: "detached" });

  // The processes with findings are below those that started them, and lead to the full tree.
  const tree = page.getByRole("region", { name: "Processes with findings" });
  await tree.getByRole("link", { name: /^Finding, high: .*cat \d+ cat \/etc\/shadow/ }).waitFor();
  await tree.getByRole("link", { name: /^.*bash \d+ \/bin\/bash \.\/dropper/ }).click();
  await rows(page, "processes")
    .filter({ hasText: "/bin/bash ./dropper" })
    .and(page.locator("[aria-selected=true]"))
    .waitFor();
  await page.goBack();

  // The matrix of ATT&CK leads to the findings of a technique.
  await page.getByRole("region", { name: "ATT&CK" }).getByRole("button", { name: /T1003/ }).first().click();
  await page.getByText(/^1 of \d+ findings, those of/).waitFor();
  await page.goBack();

  const before = await steps.getByRole("listitem").count();
  await page.getByRole("button", { name: /^Show \d+ ordinary steps$/ }).click();
  await expect.poll(() => steps.getByRole("listitem").count()).toBeGreaterThan(before);

  await page.getByRole("button", { name: /^[\d,]+ routine events left out$/ }).click();
  await page.getByRole("menuitem", { name: /^A program closed or copied a handle/ }).waitFor();
  await page.keyboard.press("Escape");

  // Steps lead to the events that they tell.
  await steps.getByRole("listitem").filter({ hasText: "looked up update.example" }).getByRole("link").click();
  await countText(page).getByText("3 events selected").waitFor();
});

test("a file and a process tell why they exist", async ({ backend, page }) => {
  const session = await post(backend, "dropper");
  await openView(page, session, "files", `?filter=${encodeURIComponent("target contains .x11")}`);
  await rows(page, "files").filter({ hasText: ".cache/.x11" }).first().click();
  const pane = page.getByRole("complementary", { name: "File" });
  await expand(pane.getByRole("button", { name: "Why does this exist?" }));
  const steps = pane.getByRole("list", { name: "Origin" }).getByRole("listitem");
  await steps.getByText("curl asked GET http://127.0.0.1:39580/stage2").waitFor();
  const texts = await steps.allTextContents();
  expect(texts.at(-1)).toContain("dropper ran /bin/sh ~/.cache/.x11");
  expect(texts.some((text) => text.includes("chmod made ~/.cache/.x11 executable"))).toBe(true);

  await openView(page, session, "processes");
  await rows(page, "processes").filter({ hasText: "find /usr/bin" }).first().click();
  await expand(page.getByRole("button", { name: "Why does this exist?" }));
  await page
    .getByRole("list", { name: "Origin" })
    .getByText("dropper ran find /usr/bin /usr/sbin /etc -perm -4000 -type f")
    .waitFor();
});

test("links of older versions that select events still open them", async ({ backend, page }) => {
  const session = await post(backend, "miner");
  await page.goto(`/sessions/${session}?filter=process%20%3D%20xmrig`);
  await page.getByRole("region", { name: "events", exact: true }).waitFor();
  expect(new URL(page.url()).pathname).toBe(`/sessions/${session}/events`);
});

test("the summary fits a telephone", async ({ backend, openWindow }) => {
  const session = await post(backend, "encrypter");
  const { context } = await openWindow({ viewport: telephone });
  const page = await context.newPage();
  await page.goto(`/sessions/${session}/summary`);
  await page.getByText(/wrote 60 files in/).waitFor();
  expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(telephone.width);
});
