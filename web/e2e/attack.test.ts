import { readFile } from "node:fs/promises";
import type { PostedEvent } from "./harness";
import { openView, rows } from "./pages";
import { desk, expect, telephone, test } from "./test";

let session: string;

function ran(program: string, ...rest: string[]): PostedEvent {
  return {
    event_type: "process_creation",
    timestamp: "2026-11-22T18:57:39Z",
    source: "os-pulse-agent",
    data: {
      imagePath: `/usr/bin/${program}`,
      arguments: [program, ...rest],
      newProcessId: 70,
      status: 0,
      metadata: { processName: "bash", processId: 7 },
    },
  };
}

test.beforeAll(async ({ backend }) => {
  session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, [
    {
      event_type: "file_operation",
      timestamp: "2026-11-22T18:57:39Z",
      source: "os-pulse-agent",
      data: {
        operation: "OpenFile",
        filePath: "/etc/shadow",
        status: 3,
        metadata: { processName: "cat", processId: 7 },
      },
    },
    ran("auditctl", "-e", "0"),
    ran("sh", "-c", "echo aaaa | base64 -d | sh"),
  ]);
});

test("the matrix of a session filters its findings by mouse and keyboard", async ({ page }) => {
  const found = await openView(page, session, "findings");
  const strip = page.getByRole("region", { name: "ATT&CK" });
  await strip.getByText("ATT&CK 19.2").waitFor();
  const all = await found.count();
  expect(all).toBeGreaterThan(2);

  // By mouse: a technique, and again for all.
  const shadow = strip.getByRole("button", { name: /^\/etc\/passwd and \/etc\/shadow\s*T1003\.008/ });
  await shadow.click();
  await page.getByText(`1 of ${all} findings, those of T1003.008.`).waitFor();
  expect(await found.count()).toBe(1);
  await found.getByText("A program read the password hashes").waitFor();
  expect(await shadow.getAttribute("aria-pressed")).toBe("true");
  expect(page.url()).toContain("attack=T1003.008");
  await page.reload();
  await page.getByText("those of T1003.008.").waitFor();
  expect(await rows(page, "findings").count()).toBe(1);
  await page.getByRole("button", { name: "Show all findings" }).click();
  await expect.poll(() => found.count()).toBe(all);

  // By keyboard: one stop for Tab, then arrows; a tactic is a filter too.
  await strip.getByRole("link", { name: "Navigator layer" }).focus();
  await page.keyboard.press("Tab");
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  expect(await focused()).toMatch(/^Execution/);
  await page.keyboard.press("ArrowDown");
  expect(await focused()).toMatch(/T1059/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowUp");
  expect(await focused()).toMatch(/^Stealth/);
  await page.keyboard.press("Enter");
  await page.getByText(/ findings?, those of stealth\./).waitFor();
  expect(page.url()).toContain("attack=stealth");
  await page.keyboard.press("Enter");
  await expect.poll(() => page.url()).not.toContain("attack=");

  // The whole matrix has all tactics.
  expect(await strip.getByText("Reconnaissance").count()).toBe(0);
  await strip.getByRole("button", { name: "All tactics" }).click();
  for (const tactic of ["Reconnaissance", "Defense Impairment", "Impact"])
    await strip.getByText(tactic, { exact: true }).waitFor();
});

test("the layer of the Navigator is downloaded", async ({ page }) => {
  await openView(page, session, "findings");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Navigator layer" }).click(),
  ]);
  expect(download.suggestedFilename()).toMatch(/^sample_sh-\w+\.attack\.json$/);
  const layer = JSON.parse(await readFile(await download.path(), "utf8"));
  expect(layer.versions).toEqual({ attack: "19", navigator: "5.1.0", layer: "4.5" });
  expect(layer.techniques.map(({ techniqueID }: { techniqueID: string }) => techniqueID)).toContain(
    "T1685.004",
  );
});

test("the matrix leaves room for the findings at every width", async ({ openWindow }) => {
  for (const viewport of [telephone, desk, { width: 2560, height: 1440 }])
    for (const colorScheme of ["light", "dark"] as const) {
      const { context } = await openWindow({ viewport, colorScheme });
      const page = await context.newPage();
      const found = await openView(page, session, "findings");
      const strip = page.getByRole("region", { name: "ATT&CK" });
      await strip.getByText("ATT&CK 19.2").waitFor();
      if (process.env.PICTURES)
        await page.screenshot({ path: `${process.env.PICTURES}/${viewport.width}-${colorScheme}.png` });
      const [box, row] = [await strip.boundingBox(), await found.first().boundingBox()];
      expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(viewport.width);
      expect(row?.y ?? 0).toBeGreaterThan((box?.y ?? 0) + (box?.height ?? 0));
      expect(row?.y ?? 0).toBeLessThan(viewport.height - 100);
    }
});
