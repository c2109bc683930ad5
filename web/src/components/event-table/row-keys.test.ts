import { expect, test } from "vitest";
import { RowKeys } from "./row-keys";

test("rows keep their keys, rows below reuse keys, rows above get new ones", () => {
  const keys = new RowKeys();
  expect(keys.of(10, 14)).toEqual([0, 1, 2, 3]);
  expect(keys.of(10, 14)).toEqual([0, 1, 2, 3]);
  expect(keys.of(12, 16)).toEqual([2, 3, 0, 1]);
  expect(keys.of(12, 17)).toEqual([2, 3, 0, 1, 4]);
  expect(keys.of(11, 15)).toEqual([5, 2, 3, 0]);
  expect(keys.of(90, 94)).toEqual([5, 2, 3, 0]);
  expect(keys.of(0, 0)).toEqual([]);
});
