import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "./client";
import { openStream, type StreamState } from "./stream";

/** An EventSource that the test controls. */
class FakeSource extends EventTarget {
  static readonly CLOSED = 2;
  static all: FakeSource[] = [];
  readyState = 0;
  onopen?: () => void;
  onerror?: () => void;
  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }
  close() {
    this.readyState = FakeSource.CLOSED;
  }
  open() {
    this.readyState = 1;
    this.onopen?.();
  }
  refuse() {
    this.readyState = FakeSource.CLOSED;
    this.onerror?.();
  }
  say(type: string, data: string, id = "") {
    this.dispatchEvent(Object.assign(new Event(type), { data, lastEventId: id }));
  }
}

/** A fake of Web Locks that supports only ifAvailable. */
function fakeLocks() {
  const held = new Set<string>();
  return {
    request: async (name: string, _: unknown, use: (lock: object | null) => unknown) => {
      if (held.has(name)) return use(null);
      held.add(name);
      try {
        return await use({});
      } finally {
        held.delete(name);
      }
    },
  };
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSource.all = [];
  vi.stubGlobal("EventSource", FakeSource);
  Object.defineProperty(navigator, "locks", { value: fakeLocks(), configurable: true });
});
afterEach(() => {
  for (const close of closing.splice(0)) close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const closing: (() => void)[] = [];

function open(poll: () => Promise<void> = async () => {}) {
  const states: StreamState[] = [];
  const got: unknown[] = [];
  const ids: string[] = [];
  const close = openStream({
    url: () => `/stream?after=${ids.at(-1) ?? "start"}`,
    on: { message: (data) => got.push(data) },
    onId: (id) => ids.push(id),
    onState: (state) => states.push(state),
    poll,
  });
  closing.push(close);
  return { states, got, ids, close };
}
const settle = () => vi.advanceTimersByTimeAsync(0);

test("messages are read, and an id without data is a position only", async () => {
  const { states, got, ids } = open();
  await settle();
  const [source] = FakeSource.all;
  source?.open();
  source?.say("message", "[1]", "7");
  source?.say("message", "", "9");
  expect([states.at(-1), got, ids]).toEqual(["live", [[1]], ["7", "9"]]);
});

test("a closed stream resumes at its position", async () => {
  const { states, ids } = open();
  await settle();
  FakeSource.all[0]?.open();
  FakeSource.all[0]?.say("message", "[1]", "7");
  FakeSource.all[0]?.refuse();
  expect(states.at(-1)).toBe("lost");
  await vi.advanceTimersByTimeAsync(1100);
  expect(FakeSource.all.map((source) => source.url)).toEqual(["/stream?after=start", "/stream?after=7"]);
  expect(ids).toEqual(["7"]);
});

test("a permanent refusal is not retried", async () => {
  const { states } = open(async () => {
    throw new ApiError("filter, column 1: …", "invalid", 400);
  });
  await settle();
  FakeSource.all[0]?.refuse();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSource.all).toHaveLength(1);
  expect(states.at(-1)).toBe("refused");
});

test("the fifth tab polls, until one of the four is closed", async () => {
  const tabs = Array.from({ length: 4 }, () => open());
  await settle();
  const poll = vi.fn(async () => {});
  const fifth = open(poll);
  await vi.advanceTimersByTimeAsync(2500);
  expect(FakeSource.all).toHaveLength(4);
  expect(poll.mock.calls.length).toBeGreaterThan(1);
  expect(fifth.states.at(-1)).toBe("polling");
  tabs[0]?.close();
  await vi.advanceTimersByTimeAsync(6000);
  expect(FakeSource.all).toHaveLength(5);
});

test("a closed stream sends nothing", async () => {
  const { states, close } = open();
  await settle();
  close();
  const before = [...states];
  await vi.advanceTimersByTimeAsync(60_000);
  expect(states).toEqual(before);
  expect(FakeSource.all[0]?.readyState).toBe(FakeSource.CLOSED);
});
