import { expect, test } from "vitest";
import { percent } from "./backfill";

test("the percentage is 100 only when all is done", () => {
  expect([
    percent({ done: 0, total: 3 }),
    percent({ done: 1, total: 3 }),
    percent({ done: 2999, total: 3000 }),
  ]).toEqual([0, 33, 99]);
});
