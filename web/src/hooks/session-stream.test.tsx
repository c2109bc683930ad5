import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, cleanup, render } from "@testing-library/react";
import { useEffect, useSyncExternalStore } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ListedEvent } from "@/api/client";
import { FeedStore } from "@/api/feed-store";
import { keys } from "@/api/queries";
import type { StreamOptions } from "@/api/stream";
import { SessionStreamProvider, useSessionStream } from "./session-stream";

const opened: StreamOptions[] = [];
vi.mock("@/api/stream", () => ({
  openStream: (options: StreamOptions) => {
    opened.push(options);
    return () => {};
  },
}));

beforeEach(() => {
  opened.length = 0;
  vi.useFakeTimers();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const newClient = () => new QueryClient({ defaultOptions: { queries: { enabled: false } } });

function page(filter: string, view: React.ReactNode, client = newClient()) {
  return (
    <QueryClientProvider client={client}>
      <SessionStreamProvider sessionId="s" filter={filter} fields="">
        {view}
      </SessionStreamProvider>
    </QueryClientProvider>
  );
}

/** The stream sends the events from one seq to another, in one message. */
function send(from: number, to: number): void {
  const events = Array.from({ length: to - from + 1 }, (_, i) => ({ seq: from + i, event_type: "x" }));
  const stream = opened.at(-1);
  stream?.on.message?.(events as ListedEvent[]);
  stream?.onId?.(String(to));
}

const seqs: number[] = [];
const drawn: [rows: number, counted: number][] = [];
const store = new FeedStore(() => seqs.length);

function View() {
  const { subscribe, counts } = useSessionStream();
  useEffect(
    () =>
      subscribe((events) => {
        seqs.push(...events.map(({ seq }) => seq));
        store.changed();
      }),
    [subscribe],
  );
  const rows = useSyncExternalStore(store.subscribe, store.getState);
  const { upTo } = useSyncExternalStore(counts.subscribe, counts.getState);
  drawn.push([rows, upTo]);
  return null;
}

test("a flood redraws the page four times a second, and its rows and counts agree", async () => {
  render(page("", <View />));
  for (let seq = 1; seq <= 100; seq++) {
    act(() => send(seq, seq));
    await act(() => vi.advanceTimersByTimeAsync(10));
  }
  await act(() => vi.advanceTimersByTimeAsync(250));
  expect(seqs).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  expect(drawn.filter(([rows, counted]) => rows !== counted)).toEqual([]);
  expect(drawn.length).toBeGreaterThan(3);
  expect(drawn.length).toBeLessThan(9);
});

test("a stream with another filter begins after the last delivered event", () => {
  const view = <View />;
  const { rerender } = render(page("", view));
  act(() => send(1, 3));
  act(() => send(4, 6)); // they wait
  expect(opened.at(-1)?.url()).toContain("after=6");
  rerender(page("pid = 1", view));
  expect(opened.at(-1)?.url()).toContain("after=3");
});

test("a hidden page, whose timers are late, does not collect events without bound", () => {
  seqs.length = 0;
  render(page("", <View />));
  for (let from = 1; from < 20_000; from += 1000) act(() => send(from, from + 999));
  expect(seqs.length).toBeGreaterThan(14_000);
});

test("changed findings are counted at once, and fetched a few times a second", async () => {
  const client = newClient();
  const invalidate = vi.spyOn(client, "invalidateQueries");
  client.setQueryData(keys.session("s"), { id: "s", event_count: 3 });
  render(page("", <View />, client));
  for (let version = 1; version <= 20; version++) {
    act(() => opened.at(-1)?.on.findings?.({ id: "s", findings: { version } }));
    expect(client.getQueryData(keys.session("s"))).toEqual({
      id: "s",
      event_count: 3,
      findings: { version },
    });
    await act(() => vi.advanceTimersByTimeAsync(50));
  }
  await act(() => vi.advanceTimersByTimeAsync(200));
  const fetched = invalidate.mock.calls.filter(([filters]) => filters?.queryKey?.includes("findings"));
  expect(fetched.length).toBeGreaterThan(2);
  expect(fetched.length).toBeLessThan(7);
});
