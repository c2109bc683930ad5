import { violations } from "./axe";
import { desk, expect, telephone, test } from "./test";

const unauthorized = /status of 40[139]|409 \(Conflict\)/;

test("an admin adds agents, and an analyst chooses one for an upload and for a start", async ({
  backend,
  openWindow,
}) => {
  const { context, faults } = await openWindow({ viewport: desk });
  faults.allow(unauthorized);
  const page = await context.newPage();
  await page.goto("/");
  await page.getByRole("button", { name: /agents? (online|offline|status)/i }).click();
  await page.getByRole("link", { name: "More about the agents" }).click();
  const add = async (name: string) => {
    await page.getByRole("button", { name: "Add agent" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name").fill(name);
    await page.keyboard.press("Enter");
    return dialog;
  };
  // Without a key of an admin, the dialog says what is missing.
  const refused = await add("too early");
  await refused.getByRole("alert").getByText("create the key of an admin first").waitFor();
  expect(await violations(page, "[role=dialog]")).toEqual([]);
  await refused.getByRole("button", { name: "Cancel" }).click();

  const key = (await backend.post("/api/keys", { name: "Ada", role: "admin" })) as { key: string };
  await page.reload();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.keyboard.insertText(key.key);
  await page.keyboard.press("Enter");
  let token = "";
  for (const name of ["Lab <i>1</i>", "lab-2"]) {
    const dialog = await add(name);
    const command = (await dialog.getByTestId("command").textContent()) ?? "";
    expect(command).toMatch(/^ospulse-agent enroll http:\/\/\S+ [A-Z2-7]{26}$/);
    token = command.split(" ")[3] ?? "";
    expect(await violations(page, "[role=dialog]")).toEqual([]);
    await dialog.getByRole("button", { name: "Done" }).click();
    const focused = await page.evaluate(() => document.activeElement?.id);
    expect(focused).toBe("add-agent");
  }
  await page.getByRole("listitem").filter({ hasText: "Lab <i>1</i>" }).waitFor();
  expect(await violations(page, "body")).toEqual([]);
  await page.getByRole("button", { name: /of 2 agents online/ }).click();
  const panel = page.getByRole("dialog", { name: "Agents" });
  await panel.getByText("Lab <i>1</i>").waitFor();
  expect(await violations(page, "[role=dialog]")).toEqual([]);
  await page.keyboard.press("Escape");

  // The second agent reports what a session can leave out.
  const enrolled = (await backend.post("/api/agents/enroll", { token })) as { key: string };
  const beat = await fetch(`${backend.url}/api/agents/heartbeat`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-API-Key": enrolled.key },
    body: JSON.stringify({ name: "lab-2", fetches_work: true, event_classes: ["reads", "<b>new</b>"] }),
  });
  expect(beat.status).toBe(200);
  await page.goto("/");

  await page.getByLabel("Agent", { exact: true }).selectOption({ label: "lab-2" });
  await page
    .locator("input[type=file]")
    .last()
    .setInputFiles({
      name: "sample.sh",
      mimeType: "text/plain",
      buffer: Buffer.from("#!/bin/sh\n"),
    });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const start = page.getByRole("dialog");
  const chosen = start.getByLabel("Agent");
  expect(await chosen.locator("option:checked").textContent()).toBe("lab-2");
  expect(await violations(page, "[role=dialog]")).toEqual([]);
  await start.getByText("Leave out events").click();
  await start.getByRole("checkbox", { name: "reads" }).check();
  await start.getByText("<b>new</b>").waitFor();
  await start.getByLabel("No files in").fill("/usr:/proc");
  expect(await violations(page, "[role=dialog]")).toEqual([]);
  const asked = page.waitForRequest(/start-monitor/);
  await start.getByRole("button", { name: "Start", exact: true }).click();
  expect((await asked).postDataJSON().selection).toEqual({
    leaveOut: ["reads"],
    leaveOutPaths: ["/usr", "/proc"],
  });
  // Nobody fetches the work of this agent: the dialog says so.
  await start.getByRole("alert").getByText("does not fetch its work").waitFor();

  await page.setViewportSize(telephone);
  await page.goto("/agents");
  await page.getByRole("listitem").filter({ hasText: "lab-2" }).getByText("none").waitFor();
  expect(await violations(page, "body")).toEqual([]);
  await page.goto("/");
  await page.getByLabel("Agent", { exact: true }).waitFor();
  const isScrolled = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(isScrolled).toBe(false);
  expect(await violations(page, "body")).toEqual([]);
});
