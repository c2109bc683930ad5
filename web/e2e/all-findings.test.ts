import type { PostedEvent } from "./harness";
import { countText } from "./pages";
import { desk, expect, telephone, test } from "./test";
import { trap } from "./watch";

function opened(program: string, filePath: string): PostedEvent {
  return {
    event_type: "file_operation",
    timestamp: "2026-11-22T18:57:39Z",
    source: "os-pulse-agent",
    data: { operation: "OpenFile", filePath, status: 3, metadata: { processName: program, processId: 7 } },
  };
}

const found = "A program read the password hashes";

test("the findings of all sessions arrive, are filtered and lead to their sessions", async ({
  backend,
  page,
}) => {
  const title = `<img src=x onerror=${trap}(1)>`;
  await backend.post("/api/rules", {
    text: `title: "${title}"\nlogsource: {category: file_access}\nlevel: low\ndetection: {s: {TargetFilename: /low}, condition: s}\n`,
  });
  const first = await backend.createSession("first.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.createSession("second.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await page.goto("/");
  await page.getByRole("row", { name: /first\.sh/ }).waitFor();
  await page.keyboard.press("F");
  await page.getByText("No findings").waitFor();

  await backend.postEvents(first, [
    opened("cat", "/etc/shadow"),
    opened("cat", "/low"),
    opened("cat", "/low"),
  ]);
  const rows = page.getByRole("grid", { name: "Findings" }).getByRole("row").filter({ hasText: "first.sh" });
  await rows.filter({ hasText: found }).getByText("high").waitFor();
  await rows.filter({ hasText: found }).getByText("T1003.008").waitFor();
  await rows.filter({ hasText: title }).getByText("low", { exact: true }).waitFor();
  expect(await page.locator("main img[src]").count()).toBe(0);
  await page.getByRole("combobox", { name: "Level" }).selectOption("high and above");
  await expect.poll(() => rows.count()).toBe(1);
  expect(page.url()).toContain("level=high");
  await page.getByRole("combobox", { name: "Level" }).selectOption("Any level");
  await rows.filter({ hasText: title }).getByRole("link", { name: "2 events" }).click();
  await countText(page).getByText("2 events selected").waitFor();

  // The list of sessions names the highest level and the counts, live.
  await page.keyboard.press("g");
  const session = page.getByRole("row", { name: /first\.sh/ });
  await session.getByText("1 high").waitFor();
  await session.getByText("1 low").waitFor();
  await page
    .getByRole("row", { name: /second\.sh/ })
    .getByText("–")
    .first()
    .waitFor();
  await backend.postEvents(first, [opened("cat", "/x")]);
  await session.getByRole("link", { name: /^Findings: 1 high/ }).click();
  await page.getByText("The rules have been applied to all 4 events.").waitFor();
});

test("the findings work by keyboard alone, and fit every width in both themes", async ({
  backend,
  openWindow,
}) => {
  const session = await backend.createSession("third.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, [opened("cat", "/etc/shadow")]);
  for (const viewport of [telephone, desk, { width: 2560, height: 1440 }])
    for (const colorScheme of ["light", "dark"] as const) {
      const { context } = await openWindow({ viewport, colorScheme });
      const page = await context.newPage();
      for (const path of ["/findings", "/"]) {
        await page.goto(path);
        const row = page.getByRole("row").filter({ hasText: "third.sh" }).first();
        await row.getByText("high").first().waitFor();
        if (process.env.PICTURES)
          await page.screenshot({
            path: `${process.env.PICTURES}/${path.slice(1) || "sessions"}-${viewport.width}-${colorScheme}.png`,
          });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect(width).toBeLessThanOrEqual(viewport.width);
      }
      await page.keyboard.press("F");
      await page.getByRole("grid", { name: "Findings" }).waitFor();
      await page.keyboard.press("j");
      await page.keyboard.press("Enter");
      await page
        .getByText(/The rules have been applied/)
        .first()
        .waitFor();
    }
});

test("the list of sessions is ordered and restricted by findings, live", async ({ backend, page }) => {
  const plain = await backend.createSession("plain-text.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  const severe = await backend.createSession("severe.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.createSession("newest.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(severe, [opened("cat", "/etc/shadow")]);
  await page.goto("/");
  const links = page.locator("[data-session]");
  const first = () => links.first().textContent();
  const names = async () => (await links.allTextContents()).filter((name) => /plain-text|newest/.test(name));
  await expect.poll(first).toBe("newest.sh");
  await page.getByRole("combobox", { name: "Order" }).selectOption("Most severe first");
  await expect.poll(first).toBe("severe.sh");
  await expect.poll(names).toEqual(["newest.sh", "plain-text.sh"]);
  await page.getByRole("combobox", { name: "Level of findings" }).selectOption("high and above");
  await expect.poll(names).toEqual([]);
  await backend.postEvents(plain, [opened("cat", "/etc/shadow")]);
  await expect.poll(names).toEqual(["plain-text.sh"]);
});
