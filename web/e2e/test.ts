import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { test as base, expect, inject } from "vitest";
import { Backend, launchBrowser, patience } from "./harness";
import { Faults } from "./watch";

export { expect };

export const desk = { width: 1440, height: 900 };
export const telephone = { width: 390, height: 844 };

/** The folder for screenshots of failed tests. */
const failures = new URL("failures", import.meta.url).pathname;

/** Opens a window with its own empty browser context. */
export type OpenWindow = (
  options?: BrowserContextOptions,
) => Promise<{ context: BrowserContext; faults: Faults }>;

/**
 * Starts a backend and a browser for each file, and opens a page for each test. A test
 * fails if one of its pages has a fault.
 */
export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of the fixtures
  .extend("backend", { scope: "file" }, async ({}, { onCleanup }) => {
    const backend = await Backend.start(inject("programs"));
    onCleanup(() => backend.remove());
    return backend;
  })
  // biome-ignore lint/correctness/noEmptyPattern: see above
  .extend("browser", { scope: "file" }, async ({}, { onCleanup }) => {
    const browser = await launchBrowser();
    onCleanup(() => browser.close());
    return browser;
  })
  .extend("openWindow", async ({ backend, browser, task }, { onCleanup }): Promise<OpenWindow> => {
    const opened: { context: BrowserContext; faults: Faults }[] = [];
    onCleanup(async () => {
      const found: string[] = [];
      for (const { context, faults } of opened) {
        found.push(...faults.list());
        if (task.result?.state === "fail" || found.length > 0) await picture(context.pages(), task.name);
        await context.close();
      }
      expect(found, "faults of the page").toEqual([]);
    });
    return async (options) => {
      const context = await browser.newContext({
        viewport: desk,
        baseURL: backend.url,
        reducedMotion: "reduce", // drawing animations would take the processor from the tests
        ...options,
      });
      const faults = await Faults.watch(context, backend.url);
      context.setDefaultTimeout(patience);
      opened.push({ context, faults });
      return { context, faults };
    };
  })
  .extend("window", ({ openWindow }) => openWindow())
  .extend("page", ({ window }) => window.context.newPage())
  .extend("faults", ({ window }) => window.faults);

/** Takes a screenshot of each page, and prints what the page says, for machines whose files nobody can open. */
async function picture(pages: Page[], name: string): Promise<void> {
  await mkdir(failures, { recursive: true });
  const file = name.replaceAll(/[^a-z0-9]+/gi, "-").slice(0, 80);
  for (const [index, page] of pages.entries()) {
    await page.screenshot({ path: join(failures, `${file}-${index}.png`) }).catch(() => {});
    const text = await page
      .locator("body")
      .ariaSnapshot()
      .catch((error: unknown) => String(error));
    process.stderr.write(`${name}: the page says\n${text.slice(0, 4000)}\n`);
  }
}
