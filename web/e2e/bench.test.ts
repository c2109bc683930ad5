import { makeLarge, openLarge } from "../bench/measure";
import { expect, test } from "./test";

// The benchmark looks for what the pages show, so a change of a page can break it.

test("the benchmark finds what it measures", async ({ backend, browser }) => {
  await makeLarge(backend, 2000, () => {});
  const { summary, events } = await openLarge(browser, backend);
  expect(summary).toBeGreaterThan(0);
  expect(events).toBeGreaterThan(0);
});
