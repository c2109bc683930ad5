import { expect, test } from "vitest";
import { percent } from "./backfill";

test("the percentage stays below 100", () => {
  expect([
    percent({ done: 0, total: 3 }),
    percent({ done: 1, total: 3 }),
    percent({ done: 2999, total: 3000 }),
  ]).toEqual([0, 33, 99]);
});
