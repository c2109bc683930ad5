import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ListedEvent } from "./client";
import { ApiError } from "./client";
import type { EventFeed, LoadPage, PageQuery } from "./event-feed";
import { KeysetFeed } from "./keyset-feed";
import { PageFeed } from "./page-feed";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

function eventOf(seq: number, fields?: string): ListedEvent {
  return {
    fields: { asked: fields },
    session_id: "s",
    seq,
    event_type: "file_operation",
    timestamp: "2026-11-22T18:57:39.967551Z",
    timestamp_source: "agent",
    source: "test",
    created_at: "2026-11-22T18:57:39.967551Z",
    pid: 1,
    process_name: "p",
    operation: "ReadFile",
    target: null,
    preview: "{}",
    preview_is_cut: false,
  };
}

function randomOf(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return (state >> 8) % below;
  };
}

/** A fake backend. The test releases its answers in any order. */
class Backend {
  seqs: number[] = [];
  waiting: { answer: () => void; signal: AbortSignal; query: PageQuery }[] = [];
  asked: PageQuery[] = [];
  most = Number.POSITIVE_INFINITY; // events of an answer with fields, whose data is long
  failing: unknown;

  load: LoadPage = (query, signal) => {
    this.asked.push(query);
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new DOMException("gone", "AbortError")));
      // An answer has the state at the time of the request, however late it arrives.
      const result = this.page(query);
      this.waiting.push({
        signal,
        query,
        answer: () => (this.failing ? reject(this.failing) : resolve(result)),
      });
    });
  };

  private page(query: PageQuery) {
    const bound = /seq <= (\d+)/.exec(query.filter ?? "")?.[1];
    const { after = 0, before = Number.POSITIVE_INFINITY, limit } = query;
    let found = this.seqs.filter((seq) => seq > after && seq < before);
    if (query.order === "desc") found = found.toReversed();
    const count = bound ? this.seqs.filter((seq) => seq <= Number(bound)).length : undefined;
    const events = found.slice(0, query.fields ? Math.min(limit, this.most) : limit);
    return {
      events: events.map((seq) => eventOf(seq, query.fields)),
      has_more: found.length > events.length,
      count,
    };
  }

  get open() {
    this.waiting = this.waiting.filter(({ signal }) => !signal.aborted);
    return this.waiting;
  }

  async answerOne(at: number): Promise<void> {
    const [one] = this.open.splice(at, 1);
    one?.answer();
    await vi.advanceTimersByTimeAsync(0);
  }

  async answerAll(): Promise<void> {
    for (let i = 0; i < 200; i++) {
      await vi.advanceTimersByTimeAsync(60);
      if (this.open.length === 0) return;
      await this.answerOne(0);
    }
    throw new Error("the feed does not come to rest");
  }
}

/** The seqs of all rows in a range; negative for missing ones, 0 for those not loaded. */
function seqsOf(feed: EventFeed, from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => {
    const row = feed.row(from + i);
    return row === undefined ? 0 : "missing" in row ? -row.missing : row.seq;
  });
}

/** The fields that the rows in a range have. */
function fieldsOf(feed: EventFeed, from: number, to: number): Set<unknown> {
  const rows = Array.from({ length: to - from }, (_, i) => feed.row(from + i));
  return new Set(rows.flatMap((row) => (row && "seq" in row ? [row.fields?.asked] : [])));
}

const span = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "pages and live events in any order are rows 1 to N, none twice (%i)",
  async (seed) => {
    const random = randomOf(seed);
    const backend = new Backend();
    let stored = 700 + random(900);
    const lost = new Set([3, 201, 650 + random(20)]);
    backend.seqs = span(1, stored).filter((seq) => !lost.has(seq));
    backend.most = seed % 2 === 0 ? 70 : backend.most;
    const feed = new PageFeed(backend.load, stored);
    let fields: string | undefined;
    for (let i = 0; i < 150; i++) {
      const what = random(4);
      if (random(20) === 0) {
        fields = `data.f${i}`;
        feed.setFields(fields);
      }
      if (what === 0) {
        const come = span(stored + 1, stored + 1 + random(150));
        stored += come.length;
        backend.seqs.push(...come);
        feed.receive(
          come.map((seq) => eventOf(seq, fields)),
          stored,
        );
      } else if (what === 1) {
        await backend.answerOne(random(3));
      } else {
        const from = random(stored);
        feed.show(from, from + 40);
        await vi.advanceTimersByTimeAsync(random(80));
      }
      expect(backend.open.length).toBeLessThanOrEqual(3);
      // Every loaded row is in its place.
      const misplaced = seqsOf(feed, 0, stored).filter((seq, at) => seq !== 0 && Math.abs(seq) !== at + 1);
      expect(misplaced).toEqual([]);
    }
    for (let from = 0; from < stored; from += 100) {
      feed.show(from, from + 100);
      await backend.answerAll();
    }
    expect(fieldsOf(feed, 0, stored)).toEqual(new Set([fields]));
    expect(feed.getState()).toMatchObject({ total: stored, count: stored });
    expect(seqsOf(feed, 0, stored)).toEqual(span(1, stored).map((seq) => (lost.has(seq) ? -seq : seq)));
  },
);

test("a session whose first events expired begins with the first that is left", async () => {
  const backend = new Backend();
  backend.seqs = span(401, 1000).filter((seq) => seq !== 403);
  const feed = new PageFeed(backend.load, 1000, 400);
  feed.show(0, 10);
  await vi.advanceTimersByTimeAsync(60);
  expect(backend.open.map(({ query }) => query.after)).toEqual([400]);
  await backend.answerAll();
  expect(seqsOf(feed, 0, 4)).toEqual([401, 402, -403, 404]);
  expect(feed.getState()).toMatchObject({ total: 600, count: 600 });
  expect([400, 401, 1000, 1001].map((seq) => feed.indexOf(seq))).toEqual([undefined, 0, 599, undefined]);
  feed.receive([eventOf(1001)], 1001);
  expect(seqsOf(feed, 600, 601)).toEqual([1001]);
});

test("rows stay in place until the same rows with other fields arrive", async () => {
  const backend = new Backend();
  backend.seqs = span(1, 4000);
  for (const feed of [new PageFeed(backend.load, 4000), new KeysetFeed(backend.load, "x", 4000, 2000)]) {
    feed.show(0, 40);
    await backend.answerAll();
    const at = feed.indexOf(1990) ?? 0;
    feed.show(at, at + 40);
    await backend.answerAll();
    const before = seqsOf(feed, at, at + 40);
    expect(before.includes(0)).toBe(false);
    feed.setFields("data.a");
    expect(seqsOf(feed, at, at + 40)).toEqual(before);
    expect(fieldsOf(feed, at, at + 40)).toEqual(new Set([undefined]));
    await backend.answerAll();
    const now = feed.indexOf(before[0] ?? 0) ?? 0;
    expect(seqsOf(feed, now, now + 40)).toEqual(before);
    expect(fieldsOf(feed, now, now + 40)).toEqual(new Set(["data.a"]));
  }
});

test("the request of a page that was scrolled past is cancelled, and the newest request is first", async () => {
  const backend = new Backend();
  const feed = new PageFeed(backend.load, 1_000_000);
  feed.show(0, 40);
  await vi.advanceTimersByTimeAsync(60);
  expect(backend.open.map(({ query }) => query.after)).toEqual([0]);
  for (let from = 1000; from < 900_000; from += 10_000) feed.show(from, from + 40);
  await vi.advanceTimersByTimeAsync(60);
  expect(backend.open.map(({ query }) => query.after)).toEqual([891_000, 890_800]);
  expect(backend.asked.length).toBe(3);
});

test("no more than 10,000 rows are held, those in sight among them", () => {
  const feed = new PageFeed(() => new Promise(() => {}), 0);
  for (let from = 1; from < 100_000; from += 500)
    feed.receive(
      span(from, from + 499).map((seq) => eventOf(seq)),
      from + 499,
    );
  const held = seqsOf(feed, 0, 100_000).filter((seq) => seq !== 0);
  expect(held.length).toBeLessThanOrEqual(10_000);
  expect(held.at(-1)).toBe(100_000);
});

test("a failure is reported, and retried automatically", async () => {
  const backend = new Backend();
  backend.seqs = span(1, 10);
  backend.failing = new ApiError("away", "unreachable", 0);
  const feed = new PageFeed(backend.load, 10);
  feed.show(0, 10);
  await vi.advanceTimersByTimeAsync(60);
  await backend.answerOne(0);
  expect(feed.getState().error).toBe(backend.failing);
  backend.failing = undefined;
  await vi.advanceTimersByTimeAsync(2100);
  await backend.answerAll();
  expect(feed.getState().error).toBeUndefined();
  expect(seqsOf(feed, 0, 10)).toEqual(span(1, 10));
});

/** The loaded rows, which must have no hole. */
function run(feed: EventFeed): number[] {
  const rows = seqsOf(feed, -500, feed.getState().total + 500);
  const from = rows.findIndex((seq) => seq !== 0);
  const to = rows.findLastIndex((seq) => seq !== 0);
  return from < 0 ? [] : rows.slice(from, to + 1);
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "the rows of a filter are contiguous and ordered, for any order of answers (%i)",
  async (seed) => {
    const random = randomOf(seed * 7919);
    const backend = new Backend();
    let position = 20_000;
    backend.seqs = span(1, position).filter(() => random(3) === 0);
    const starts = ["first", "last", 9000] as const;
    backend.most = seed % 2 === 0 ? 70 : backend.most;
    const feed = new KeysetFeed(backend.load, "pid = 1", position, starts[seed % 3] ?? "first");
    let fields: string | undefined;
    feed.show(0, 40);
    for (let i = 0; i < 200; i++) {
      const what = random(4);
      if (random(20) === 0) {
        fields = `data.f${i}`;
        feed.setFields(fields);
      }
      if (what === 0) {
        const come = span(position + 1, position + 1 + random(60));
        const selected = come.filter(() => random(3) === 0);
        position += come.length;
        backend.seqs.push(...selected);
        feed.receive(
          selected.map((seq) => eventOf(seq, fields)),
          position,
        );
      } else if (what === 1) {
        await backend.answerOne(random(2));
      } else {
        const { total } = feed.getState();
        const from = random(Math.max(1, total));
        feed.show(from, Math.min(total, from + 40));
        await vi.advanceTimersByTimeAsync(random(120));
      }
      const rows = run(feed);
      const at = backend.seqs.indexOf(rows[0] ?? -1);
      const wrong = rows.filter((seq, i) => seq !== backend.seqs[at + i]);
      expect(wrong).toEqual([]);
    }
    // Both ends are reached, with all events between them.
    const { total } = feed.getState();
    feed.show(total - 40, total);
    await backend.answerAll();
    expect(run(feed).at(-1)).toBe(backend.seqs.at(-1));
    feed.show(0, 40);
    await backend.answerAll();
    expect(seqsOf(feed, 0, 40)).toEqual(backend.seqs.slice(0, 40));
    for (let from = 0; from < backend.seqs.length; from += 300) {
      feed.show(from, from + 40);
      await backend.answerAll();
    }
    expect(seqsOf(feed, 0, feed.getState().total)).toEqual(backend.seqs);
    expect(fieldsOf(feed, 0, feed.getState().total)).toEqual(new Set([fields]));
    expect(feed.getState().count).toBe(backend.seqs.length);
  },
);

test("a jump into the middle of a filter shows events near that position", async () => {
  const backend = new Backend();
  backend.seqs = span(1, 60_000).filter((seq) => seq % 3 === 0);
  const feed = new KeysetFeed(backend.load, "x", 60_000, "first");
  feed.show(0, 40);
  await backend.answerAll();
  expect(feed.getState()).toMatchObject({ total: 20_000, count: 20_000 });
  feed.show(10_000, 10_040);
  await backend.answerAll();
  const shown = seqsOf(feed, 10_000, 10_040);
  expect(shown.includes(0)).toBe(false);
  expect(Math.abs((shown[0] ?? 0) - 30_000)).toBeLessThan(1000);
});

test("find reveals an event only if the filter selects it", async () => {
  const backend = new Backend();
  backend.seqs = span(1, 30_000).filter((seq) => seq % 10 === 0);
  const feed = new KeysetFeed(backend.load, "x", 30_000, "first");
  feed.show(0, 40);
  await backend.answerAll();
  feed.find(20_000);
  await backend.answerAll();
  const index = feed.indexOf(20_000);
  expect(index).toBeDefined();
  expect(seqsOf(feed, index ?? 0, (index ?? 0) + 2)).toEqual([20_000, 20_010]);
  expect(feed.indexOf(20_001)).toBeUndefined();
});

test("a refused filter is not retried", async () => {
  const backend = new Backend();
  backend.failing = new ApiError("filter, column 7: unknown field", "invalid", 400);
  const feed = new KeysetFeed(backend.load, "proces = x", 10, "first");
  feed.show(0, 40);
  await vi.advanceTimersByTimeAsync(10);
  await backend.answerOne(1);
  await backend.answerOne(0);
  expect(feed.getState().error).toBe(backend.failing);
  const before = backend.asked.filter((query) => !query.count).length;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(backend.asked.filter((query) => !query.count).length).toBe(before);
});
