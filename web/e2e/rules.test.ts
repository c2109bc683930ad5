import type { Page } from "playwright-core";
import type { Backend } from "./harness";
import { desk, expect, telephone, test } from "./test";
import { trap } from "./watch";

const shadow = "A program read the password hashes";

/** The rows of the list of rules that are in sight. */
function ruleRows(page: Page) {
  return page
    .getByRole("grid", { name: "Rules" })
    .getByRole("row")
    .filter({ has: page.getByRole("gridcell") });
}

async function createRule(backend: Backend, text: string): Promise<string> {
  return (await backend.post<{ rule_id: string }>("/api/rules", { text })).rule_id;
}

async function stateOf(backend: Backend, id: string): Promise<string> {
  return (await backend.get<{ state: string }>(`/api/rules/${encodeURIComponent(id)}`)).state;
}

test("rules are searched, filtered and turned off and on, by mouse", async ({ backend, page }) => {
  const needy =
    "title: Needs a log-on\nlogsource: {product: windows, category: process_creation}\ndetection: {s: {LogonId: '0x3'}, condition: s}\n";
  await createRule(backend, needy);
  await page.goto("/");
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Rules" }).click();
  const rows = ruleRows(page);
  await rows.first().waitFor();
  await page
    .getByRole("status")
    .getByText(/^\d{3} rules: \d+ running, 1 cannot run\.$/)
    .waitFor();

  await page.getByRole("combobox", { name: "State" }).selectOption("Cannot run");
  await rows.getByText("Needs LogonId").waitFor();
  expect(await rows.count()).toBe(1);
  await page.getByRole("combobox", { name: "State" }).selectOption("Any state");
  await page.getByRole("combobox", { name: "Kind" }).selectOption("Routine");
  await expect.poll(() => rows.first().textContent()).toContain("routine");
  await page.getByRole("combobox", { name: "Kind" }).selectOption("Any kind");

  await page.getByRole("searchbox", { name: "Search rules" }).fill("t1003.008 password hashes");
  const found = rows.filter({ hasText: shadow });
  await expect.poll(() => rows.count()).toBe(1);
  await found.getByText("high").waitFor();
  const id = (await found.getByRole("link").getAttribute("data-rule")) ?? "";
  expect(await stateOf(backend, id)).toBe("running");
  await found.getByRole("switch", { name: `Apply ${shadow}` }).click();
  await found.getByText("Off").waitFor();
  expect(await stateOf(backend, id)).toBe("off");
  await page.reload();
  await found.getByText("Off").waitFor();
  await found.getByRole("switch").click();
  await found.getByText("Running").waitFor();
  expect(await stateOf(backend, id)).toBe("running");
});

test("the rules work by keyboard alone", async ({ backend, page }) => {
  await page.goto("/");
  await page.getByText("No sessions yet").waitFor();
  await page.keyboard.press("R");
  const rows = ruleRows(page);
  await rows.first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("read the password hashes");
  await expect.poll(() => rows.count()).toBe(1);
  const row = rows.first();
  while (!(await row.evaluate((element) => element === document.activeElement)))
    await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  const id = (await row.getByRole("link").getAttribute("data-rule")) ?? "";
  await page.keyboard.press("Space");
  await row.getByText("Off").waitFor();
  expect(await stateOf(backend, id)).toBe("off");
  await page.keyboard.press("Space");
  await row.getByText("Running").waitFor();
  await row.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: shadow }).waitFor();
  await page.getByText("TargetFilename").first().waitFor();
  await page.keyboard.press("g");
  await page.getByText("No sessions yet").waitFor();
});

test("hostile texts of rules are values", async ({ backend, page }) => {
  const title = `<img src=x onerror=${trap}(1)>\u202e<script>${trap}(2)</script>`;
  const id = await createRule(
    backend,
    `title: ${JSON.stringify(title)}\nauthor: "<b>${trap}(3)</b>"\nlogsource: {product: linux}\ntags: ['attack.<i>']\n` +
      "detection: {s: {TargetFilename: /etc/shadow}, condition: s}\n",
  );
  await page.goto("/rules?source=user&text=onerror");
  await ruleRows(page).getByText("<img src=x").waitFor();
  await page.locator("[data-hidden='U+202E']").first().waitFor();
  await page.goto(`/rules/rule?id=${id}`);
  await page.getByRole("heading").getByText("<img src=x").waitFor();
  await page.getByText(`<b>${trap}(3)</b>`).first().waitFor();
  expect(await page.locator("main img[src], main script, main b").count()).toBe(0);
});

test("the rules fit every width, in both themes", async ({ openWindow }) => {
  for (const viewport of [telephone, desk, { width: 2560, height: 1440 }])
    for (const colorScheme of ["light", "dark"] as const) {
      const { context } = await openWindow({ viewport, colorScheme });
      const page = await context.newPage();
      for (const path of ["/rules", "/rules?text=read+the+password+hashes"]) {
        await page.goto(path);
        await ruleRows(page).first().waitFor();
        if (process.env.PICTURES)
          await page.screenshot({
            path: `${process.env.PICTURES}/rules-${viewport.width}-${colorScheme}.png`,
          });
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(
          viewport.width,
        );
      }
      await ruleRows(page).getByRole("link").click();
      await page.getByText("TargetFilename").first().waitFor();
      if (process.env.PICTURES)
        await page.screenshot({ path: `${process.env.PICTURES}/rule-${viewport.width}-${colorScheme}.png` });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(
        viewport.width,
      );
    }
});
