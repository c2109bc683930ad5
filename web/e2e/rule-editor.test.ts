import type { Page } from "playwright-core";
import { countText } from "./pages";
import { desk, expect, telephone, test } from "./test";
import { trap } from "./watch";

const opens = (path: string) =>
  `title: Opens ${path}\nlogsource: {category: file_access}\ndetection: {s: {TargetFilename: ${path}}, condition: s}\n`;

const editor = (page: Page) => page.getByRole("textbox", { name: "Rule" });

/** Replaces the text of the rule by what a user types. */
async function write(page: Page, text: string): Promise<void> {
  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(text);
}

interface Stored {
  rule_id: string;
  rule_version: string;
  title: string;
  text: string;
}

test("a rule is written, tested, saved, changed and deleted", async ({ backend, page, faults }) => {
  faults.allow(/status of (400|404).*\/api\/rules/);
  const session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  const opened = (filePath: string) => ({
    event_type: "file_operation",
    timestamp: "2026-11-22T18:57:39Z",
    source: "os-pulse-agent",
    data: { operation: "OpenFile", filePath, status: 3, metadata: { processName: "cat", processId: 7 } },
  });
  await backend.postEvents(session, [opened("/a"), opened("/tmp/e2e"), opened("/b"), opened("/tmp/e2e")]);

  await page.goto("/rules");
  await page.getByRole("link", { name: "New rule" }).click();
  // A fault is at its line, below it and in the description of the field.
  await write(page, opens("/tmp/e2e").replace("TargetFilename:", "TargetFilename|nonsense:"));
  await page.locator(".rule-fault-line").getByText("nonsense").waitFor();
  const reason = page.getByRole("status").getByText(/^Line 3: .*nonsense/);
  await reason.waitFor();
  const text = (await reason.textContent()) ?? "";
  expect(await page.locator(".rule-fault-reason").textContent()).toBe(text.replace("Line 3: ", ""));
  expect(await editor(page).getAttribute("aria-invalid")).toBe("true");
  await page.getByRole("button", { name: "Save" }).click();
  await page
    .getByRole("alert")
    .getByText(/^Not saved: /)
    .waitFor();

  await write(page, opens("/tmp/e2e"));
  await page.getByRole("status").getByText("The rule is valid.").waitFor();
  expect(await page.locator(".rule-fault-reason").count()).toBe(0);
  // Would it have fired?
  await page.keyboard.press("ControlOrMeta+Enter");
  const trial = page.getByRole("region", { name: "Test" });
  await trial.getByText("Yes: 2 events in 1 session.").waitFor();
  await trial.getByText(/4 events of \d+ sessions? in \d+ ms\./).waitFor();
  await trial.getByRole("link", { name: "sample.sh" }).click();
  await countText(page).getByText("2 events selected").waitFor();
  expect(new URL(page.url()).searchParams.get("filter")).toBe("seq in (2, 4)");
  // The text is kept, although it was not saved.
  await page.goBack();
  await editor(page).getByText("title: Opens /tmp/e2e").waitFor();
  await page.getByText("Not saved yet.").waitFor();

  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+s");
  await page.getByRole("heading", { name: "Opens /tmp/e2e" }).waitFor();
  const id = new URL(page.url()).searchParams.get("id") ?? "";
  expect((await backend.get<Stored>(`/api/rules/${id}`)).text).toBe(opens("/tmp/e2e"));

  await write(page, opens("/tmp/other"));
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Opens /tmp/other" }).waitFor();
  expect((await backend.get<Stored>(`/api/rules/${id}`)).title).toBe("Opens /tmp/other");

  await page.getByRole("button", { name: "Delete" }).click();
  const question = page.getByRole("dialog", { name: "Delete this rule?" });
  await question.getByText("Opens /tmp/other").waitFor();
  await question.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "Rules", exact: true }).waitFor();
  expect((await fetch(`${backend.url}/api/rules/${id}`)).status).toBe(404);
});

test("a conflict keeps the text, and does not overwrite the other's unasked", async ({
  backend,
  page,
  faults,
}) => {
  faults.allow(/status of 409/);
  const made = await backend.post<Stored>("/api/rules", { text: opens("/first") });
  await page.goto(`/rules/rule?id=${made.rule_id}`);
  await write(page, opens("/mine"));
  const theirs = await fetch(`${backend.url}/api/rules/${made.rule_id}?rule_version=${made.rule_version}`, {
    method: "PUT",
    headers: { "Content-Type": "application/yaml" },
    body: opens("/theirs"),
  });
  expect(theirs.status).toBe(200);
  const stored = async () => (await backend.get<Stored>(`/api/rules/${made.rule_id}`)).text;

  await page.getByRole("button", { name: "Save" }).click();
  const conflict = page.getByRole("alert").filter({ hasText: "another user changed the rule" });
  await conflict.getByText("The rule as it is stored now").click();
  await conflict.getByText("title: Opens /theirs").waitFor();
  await editor(page).getByText("title: Opens /mine").waitFor();
  expect(await stored()).toBe(opens("/theirs"));
  // The text survives a reload, and is still a change of the first version.
  await page.reload();
  await editor(page).getByText("title: Opens /mine").waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  await conflict.getByRole("button", { name: "Replace it with my text" }).click();
  await page.getByRole("heading", { name: "Opens /mine" }).waitFor();
  expect(await stored()).toBe(opens("/mine"));
  expect(await conflict.count()).toBe(0);

  await write(page, opens("/other"));
  const discard = page.getByRole("button", { name: "Discard the changes" });
  await discard.click();
  const question = page.getByRole("dialog", { name: "Discard your changes?" });
  await question.getByRole("button", { name: "Cancel" }).click();
  await editor(page).getByText("title: Opens /other").waitFor();
  await discard.click();
  await question.getByRole("button", { name: "Discard" }).click();
  await editor(page).getByText("title: Opens /mine").waitFor();
});

test("a rule of OS-Pulse is read-only, and is copied into a new one", async ({ backend, page }) => {
  await page.goto("/rules?text=read+the+password+hashes");
  await page.getByRole("link", { name: "A program read the password hashes" }).click();
  await page.getByText("This rule cannot be changed here.").waitFor();
  expect(await editor(page).getAttribute("contenteditable")).toBe("false");
  expect(await page.getByRole("button", { name: /Save|Delete/ }).count()).toBe(0);
  await page.getByRole("link", { name: "Copy into a new rule" }).click();
  await page.getByRole("heading", { name: "Copy of a rule" }).waitFor();
  await page.getByRole("status").getByText("The rule is valid.").waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "A program read the password hashes" }).waitFor();
  const id = new URL(page.url()).searchParams.get("id") ?? "";
  const { text } = await backend.get<Stored>(`/api/rules/${id}`);
  expect(text).toContain("title: A program read the password hashes");
  expect(text).not.toMatch(/^id:/m);
});

test("a test of a rule can be cancelled", async ({ page }) => {
  // The answer takes as long as the user's patience.
  await page.route("**/api/rules/test", async (route) => {
    if (route.request().postData()?.includes("session_ids")) await route.continue();
  });
  await page.goto("/rules/new");
  const trial = page.getByRole("region", { name: "Test" });
  await trial.getByRole("button", { name: "Test" }).click();
  const gone = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/api/rules/test"));
  await trial.getByRole("button", { name: "Cancel" }).click();
  await trial.getByText("The test was cancelled.").waitFor();
  expect((await gone).failure()?.errorText).toContain("ABORTED");
});

test("hostile texts in the editor are values", async ({ page, faults }) => {
  faults.allow(/status of 400/);
  await page.goto("/rules/new");
  const attack = `<img src=x onerror=${trap}(1)>`;
  await write(
    page,
    `title: "${attack}\u202e"\nlogsource: {product: linux}\ndetection: {s: {"${attack}|x": 1}, condition: s}\n`,
  );
  await page
    .getByRole("status")
    .getByText(/^Line 3: /)
    .waitFor();
  await editor(page).getByText("⟨202E⟩").waitFor();
  expect(await page.locator("main img[src]").count()).toBe(0);
});

test("the editor fits every width, in both themes", async ({ openWindow }) => {
  for (const viewport of [telephone, desk, { width: 2560, height: 1440 }])
    for (const colorScheme of ["light", "dark"] as const) {
      const { context, faults } = await openWindow({ viewport, colorScheme });
      faults.allow(/status of 400/);
      const page = await context.newPage();
      await page.goto("/rules/new");
      await write(page, `${opens("/x")}# ${"long ".repeat(100)}\nnonsense`);
      await page.locator(".rule-fault-reason").waitFor();
      if (process.env.PICTURES)
        await page.screenshot({ path: `${process.env.PICTURES}/edit-${viewport.width}-${colorScheme}.png` });
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(width).toBeLessThanOrEqual(viewport.width);
    }
});
