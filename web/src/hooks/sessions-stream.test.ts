import { expect, test } from "vitest";
import type { Session } from "@/api/client";
import { replaceSession, withoutSession } from "./sessions-stream";

const session = (id: string, count = 0) => ({ id, event_count: count }) as Session;
const list = {
  pageParams: [undefined, "c"],
  pages: [
    { sessions: [session("a"), session("b")], next_cursor: "c" },
    { sessions: [session("c")], next_cursor: null },
  ],
};

test("a session is replaced where it stands", () => {
  const changed = replaceSession(list, session("c", 7));
  expect(changed?.pages.flatMap((page) => page.sessions).map((s) => [s.id, s.event_count])).toEqual([
    ["a", 0],
    ["b", 0],
    ["c", 7],
  ]);
  expect(replaceSession(list, session("d"))).toBeUndefined();
  expect(replaceSession(undefined, session("a"))).toBeUndefined();
});

test("a session that is gone is taken out", () => {
  expect(withoutSession(list, "b")?.pages[0]?.sessions.map((s) => s.id)).toEqual(["a"]);
  expect(withoutSession(undefined, "b")).toBeUndefined();
});
