import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test, vi } from "vitest";
import type { Session } from "@/api/client";
import { newRefetch, replaceSession, withoutSession } from "./sessions-stream";

const session = (id: string, count = 0) => ({ id, event_count: count }) as Session;
const list = {
  pageParams: [undefined, "c"],
  pages: [
    { sessions: [session("a"), session("b")], next_cursor: "c" },
    { sessions: [session("c")], next_cursor: null },
  ],
};

test("a session is replaced in its place", () => {
  const changed = replaceSession(list, session("c", 7));
  expect(changed?.pages.flatMap((page) => page.sessions).map((s) => [s.id, s.event_count])).toEqual([
    ["a", 0],
    ["b", 0],
    ["c", 7],
  ]);
  expect(replaceSession(list, session("d"))).toBeUndefined();
  expect(replaceSession(undefined, session("a"))).toBeUndefined();
});

test("new findings of a session leave the rest of it", () => {
  const findings = { version: 2, highest: "high", high: 1 } as Session["findings"];
  const changed = replaceSession(list, { id: "b", findings });
  expect(changed?.pages[0]?.sessions[1]).toEqual({ id: "b", event_count: 0, findings });
});

test("a deleted session is removed", () => {
  expect(withoutSession(list, "b")?.pages[0]?.sessions.map((s) => s.id)).toEqual(["a"]);
  expect(withoutSession(undefined, "b")).toBeUndefined();
});

/** A list on screen. The test releases its answers. */
function openList() {
  const queries = new QueryClient();
  const waiting: ((answer: string) => void)[] = [];
  const list = new QueryObserver(queries, {
    queryKey: ["sessions", {}],
    queryFn: () => new Promise<string>((answer) => waiting.push(answer)),
  });
  list.subscribe(() => {});
  const answer = async (text: string) => {
    await vi.waitFor(() => expect(waiting).toHaveLength(1), 20_000);
    waiting.splice(0).forEach((resolve) => {
      resolve(text);
    });
  };
  return { queries, list, answer };
}

test("an answer that was pending when something changed is followed by another", async () => {
  const { queries, list, answer } = openList();
  const done = newRefetch(queries, { queryKey: ["sessions"] })();
  await answer("before the change");
  await answer("after the change");
  await done;
  expect(list.getCurrentResult().data).toBe("after the change");
});

test("changes during a fetch share one more request", async () => {
  const { queries, list, answer } = openList();
  await answer("first");
  await vi.waitFor(() => expect(list.getCurrentResult().data).toBe("first"), 20_000);
  const refetch = newRefetch(queries, { queryKey: ["sessions"] });
  const calls = [refetch(), refetch(), refetch()];
  await answer("second");
  calls.push(refetch());
  await answer("third");
  await Promise.all(calls);
  expect(list.getCurrentResult().data).toBe("third");
  expect(queries.isFetching()).toBe(0);
});
