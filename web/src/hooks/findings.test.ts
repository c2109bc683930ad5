import { expect, test } from "vitest";
import { marksOf } from "./findings";

test("an event has one mark, with the highest level and all findings", () => {
  const marks = marksOf([
    { level: "high", title: "Secrets\u202e are read", events: 2, failed_count: 2, seqs: [2, 5] },
    { level: "low", title: "A shell", events: 2, failed_count: 0, seqs: [5, 9] },
    { level: "low", title: "A log", events: 3, failed_count: 1, seqs: [10] },
  ]);
  expect([...marks]).toEqual([
    [2, { level: "high", text: "high: Attempt failed: Secrets⟨202E⟩ are read" }],
    [5, { level: "high", text: "high: Attempt failed: Secrets⟨202E⟩ are read; low: A shell" }],
    [9, { level: "low", text: "low: A shell" }],
    [10, { level: "low", text: "low: 1 of 3 failed: A log" }],
  ]);
});
