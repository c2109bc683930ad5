import { expect, test } from "vitest";
import { summary } from "./completeness";

type State = Parameters<typeof summary>[1];
const empty: State = {
  complete: true,
  expected: 0,
  expired: 0,
  present: 0,
  missing: [],
  damaged: [],
  lost: 0,
  losses: [],
  selection: null,
  left_out: {},
  expirations: [],
  durability: "disk",
  agent_silent_since: null,
};

test.each<[Parameters<typeof summary>[0], Partial<State>, string, string]>([
  ["failed", {}, "failed", "The start failed; no events were recorded"],
  ["created", {}, "empty", "No events"],
  ["failed", { expected: 3, present: 3 }, "good", "3 of 3 events, none lost"],
  ["ended", { expected: 1, present: 1 }, "good", "1 of 1 event, none lost"],
  [
    "ended",
    { complete: false, expected: 5, present: 3, lost: 4 },
    "bad",
    "3 of 5 events, 2 missing here, 4 lost on the way",
  ],
  [
    "ended",
    { complete: false, expected: 9000, present: 9000, damaged: [{ first_seq: 4097, last_seq: 8192 }] },
    "bad",
    "9,000 of 9,000 events, 4,096 damaged here",
  ],
  [
    "created",
    { expected: 9000, expired: 8192, present: 808 },
    "good",
    "808 of 808 events, none lost, 8,192 older expired",
  ],
  ["created", { expected: 8192, expired: 8192, present: 0 }, "empty", "8,192 events expired, none left"],
  [
    "created",
    { complete: false, expected: 9000, expired: 8192, present: 807 },
    "bad",
    "807 of 808 events, 1 missing here, 8,192 older expired",
  ],
  [
    "ended",
    { expected: 5, present: 5, left_out: { closes: 1000, paths: 20, contents: 3 } },
    "good",
    "5 of 5 events, none lost, 1,020 left out on request",
  ],
  ["active", { complete: false, expected: 5, present: 5 }, "bad", "5 of 5 events, not complete"],
])("%s %j", (state, completeness, look, text) =>
  expect(summary(state, { ...empty, ...completeness })).toEqual({ look, text }),
);

test("while events arrive, the text says up to which one they were checked", () => {
  expect(summary("active", { ...empty, expected: 3, present: 3 }, 5).text).toBe(
    "5 events, none lost up to event 3",
  );
  expect(summary("active", empty, 1)).toEqual({ look: "empty", text: "1 event, not checked yet" });
  expect(summary("active", { ...empty, complete: false, expected: 5, present: 3 }, 9).text).toBe(
    "7 events, 2 missing here up to event 5",
  );
});
