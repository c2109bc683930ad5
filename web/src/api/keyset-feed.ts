import { and } from "@/lib/filter";
import { ApiError, type ListedEvent } from "./client";
import type { EventFeed, FeedRow, FeedStart, FeedState, LoadPage, PageQuery } from "./event-feed";
import { FeedStore, isAbort } from "./feed-store";

const pageSize = 200;
const growBy = 500;
const ahead = 300; // rows loaded before they come into sight
const near = 3000; // beyond this distance from the loaded rows, the feed seeks
const maxRows = 10_000;
const seekMillis = 60; // dragging the scroll bar must not request every position on the way
const retryMillis = 2000;

interface Request {
  key: string;
  ending: AbortController;
}

/**
 * The events that a filter selects. The backend pages through them by seq, so the loaded
 * rows are one contiguous run that grows at both ends. If the reader jumps far from it, a
 * new run begins at a seq that the feed estimates from the count. Its row numbers follow
 * the scroll bar; the feed renumbers them when it reaches an end.
 */
export class KeysetFeed implements EventFeed {
  private rows: ListedEvent[] = [];
  private first = 0; // the number of rows[0]
  private atStart = false;
  private atEnd = false;
  private isOld = false; // the loaded rows have other fields
  private shift = 0;
  private want = { from: 0, to: 0 };
  private request: Request | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private counting: AbortController | undefined;
  private counted: number | undefined;
  private countedTo: number;
  private cameLive = 0; // selected events after countedTo
  private lastLive = 0; // seq of the newest selected event
  private hasLoaded = false;
  private error: unknown;
  private store = new FeedStore<FeedState>(() => ({
    total: this.total(),
    count: this.atStart && this.atEnd ? this.rows.length : this.count(),
    shift: this.shift,
    isPending: !this.hasLoaded,
    error: this.error,
  }));
  subscribe = this.store.subscribe;
  getState = this.store.getState;

  constructor(
    private readonly load: LoadPage,
    private readonly filter: string,
    private upTo: number,
    private start: FeedStart,
    private fields = "",
  ) {
    this.countedTo = upTo;
    this.store.changed();
  }

  row(index: number): FeedRow {
    return this.rows[index - this.first];
  }

  indexOf(seq: number): number | undefined {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.rows[middle]?.seq ?? 0) < seq) low = middle + 1;
      else high = middle;
    }
    return this.rows[low]?.seq === seq ? this.first + low : undefined;
  }

  find(seq: number): void {
    if (this.indexOf(seq) !== undefined) return;
    this.begin(seq);
  }

  show(from: number, to: number): void {
    this.want = { from, to };
    if (this.counted === undefined) void this.countAll();
    this.decide();
  }

  receive = (events: readonly ListedEvent[], upTo: number): void => {
    this.upTo = Math.max(this.upTo, upTo);
    const last = events.at(-1)?.seq;
    if (last === undefined) return;
    this.lastLive = Math.max(this.lastLive, last);
    for (const event of events) if (event.seq > this.countedTo) this.cameLive++;
    if (this.atEnd) {
      const end = this.rows.at(-1)?.seq ?? 0;
      for (const event of events) if (event.seq > end) this.rows.push(event);
      this.settle();
    }
    this.store.changed();
  };

  setFields(fields: string): void {
    if (fields === this.fields) return;
    this.fields = fields;
    this.request?.ending.abort();
    this.request = undefined;
    this.isOld = this.hasLoaded && this.rows.length > 0;
    this.decide();
  }

  retry(): void {
    this.error = undefined;
    this.store.changed();
    this.decide();
  }

  close(): void {
    clearTimeout(this.timer);
    this.request?.ending.abort();
    this.request = undefined;
    this.counting?.abort();
    this.counting = undefined;
  }

  private count(): number | undefined {
    return this.counted === undefined ? undefined : this.counted + this.cameLive;
  }

  private total(): number {
    const end = this.first + this.rows.length;
    if (this.atEnd || !this.hasLoaded) return end;
    return Math.max(this.count() ?? 0, end + 1);
  }

  /** Requests the most urgent rows, unless that request is running. */
  private decide(): void {
    clearTimeout(this.timer);
    if (!this.hasLoaded) {
      if (!this.request) this.begin(this.start);
      return;
    }
    const { from, to } = this.want;
    const end = this.first + this.rows.length;
    const isFar = (from > end + near && !this.atEnd) || (to < this.first - near && !this.atStart);
    if (isFar) this.timer = setTimeout(() => this.seek(), seekMillis);
    else if (this.isOld) this.loadAgain();
    else if (to + ahead > end && !this.atEnd) this.growForward();
    else if (from - ahead < this.first && !this.atStart) this.growBack();
  }

  private begin(start: FeedStart): void {
    if (start === "first") this.ask("first", { after: 0, limit: pageSize }, this.replace(0, true));
    else if (start === "last") this.askLast(() => this.wantLast());
    else
      this.ask(`seq ${start}`, { before: start + 1, order: "desc", limit: pageSize }, (events, hasMore) => {
        if (events.length === 0) return this.begin("first");
        this.put(events.toReversed(), Math.max(0, this.guessIndex(start) - events.length), !hasMore, false);
        this.wantLast();
      });
  }

  private askLast(then?: () => void): void {
    this.ask(
      "last",
      { before: Number.MAX_SAFE_INTEGER, order: "desc", limit: pageSize },
      (events, hasMore) => {
        const rows = events.toReversed();
        const first = Math.max(this.count() ?? 0, rows.length) - rows.length;
        this.put(rows, first, !hasMore, (rows.at(-1)?.seq ?? 0) >= this.lastLive);
        then?.();
      },
    );
  }

  /** Replaces the loaded rows with those in sight. The others follow. */
  private loadAgain(): void {
    const last = this.rows.at(Math.min(this.want.to - this.first, this.rows.length) - 1);
    if (!last) return;
    this.ask(
      `again ${last.seq}`,
      { before: last.seq + 1, order: "desc", limit: pageSize },
      (events, hasMore) => {
        const end = (this.indexOf(last.seq) ?? events.length - 1) + 1;
        this.put(events.toReversed(), end - events.length, !hasMore, false);
      },
    );
  }

  /** Sets the wanted rows to the end, because the table scrolls there only with its next show. */
  private wantLast(): void {
    const end = this.first + this.rows.length;
    this.want = { from: end - 50, to: end };
  }

  private seek(): void {
    const { from, to } = this.want;
    const total = this.total();
    if (from < pageSize) this.begin("first");
    else if (to > total - pageSize) this.askLast();
    else {
      const after = Math.max(0, this.guessSeq(from - 50));
      const place = this.replace(Math.max(1, from - 50), false);
      this.ask(`seek ${after}`, { after, limit: pageSize }, (events, hasMore) =>
        events.length === 0 ? this.askLast() : place(events, hasMore),
      );
    }
  }

  private growForward(): void {
    const last = this.rows.at(-1)?.seq ?? 0;
    this.ask(`after ${last}`, { after: last, limit: growBy }, (events, hasMore) => {
      const rows = this.rows;
      for (const event of events) if (event.seq > (rows.at(-1)?.seq ?? 0)) rows.push(event);
      this.atEnd = !hasMore && (rows.at(-1)?.seq ?? 0) >= this.lastLive;
    });
  }

  private growBack(): void {
    const before = this.rows[0]?.seq ?? 1;
    this.ask(`before ${before}`, { before, order: "desc", limit: growBy }, (events, hasMore) => {
      this.rows = [...events.toReversed(), ...this.rows];
      this.first -= events.length;
      this.atStart = !hasMore;
    });
  }

  private replace(first: number, atStart: boolean) {
    return (events: ListedEvent[], hasMore: boolean) =>
      this.put(events, first, atStart, !hasMore && (events.at(-1)?.seq ?? 0) >= this.lastLive);
  }

  private put(rows: ListedEvent[], first: number, atStart: boolean, atEnd: boolean): void {
    Object.assign(this, { rows, first, atStart, atEnd, isOld: false });
  }

  private ask(key: string, query: PageQuery, take: (events: ListedEvent[], hasMore: boolean) => void): void {
    if (this.request?.key === key) return;
    this.request?.ending.abort();
    const ending = new AbortController();
    this.request = { key, ending };
    this.load({ ...query, filter: this.filter, fields: this.fields || undefined }, ending.signal).then(
      ({ events, has_more }) => {
        if (ending.signal.aborted) return;
        this.request = undefined;
        this.error = undefined;
        take(events, has_more);
        if (this.request) return; // take started another request
        this.hasLoaded = true;
        this.settle();
        this.store.changed();
        this.decide();
      },
      (error) => {
        if (ending.signal.aborted || isAbort(error)) return;
        this.request = undefined;
        this.error = error;
        this.store.changed();
        // The backend would refuse an invalid filter again.
        if (!(error instanceof ApiError) || error.code === "unreachable" || error.status >= 429)
          this.timer = setTimeout(() => this.decide(), retryMillis);
      },
    );
  }

  private async countAll(): Promise<void> {
    if (this.counting) return;
    this.counting = new AbortController();
    const { signal } = this.counting;
    const filter = and(this.filter, `seq <= ${this.countedTo}`);
    try {
      const page = await this.load({ filter, limit: 1, count: true }, signal);
      if (signal.aborted) return;
      this.counted = page.count ?? 0;
      if (!this.atStart && !this.atEnd) this.renumber(Math.max(1, this.guessFirst()));
      this.settle();
      this.store.changed();
    } catch {
      if (!signal.aborted) setTimeout(() => (this.counting = undefined), retryMillis);
    }
  }

  /** Enforces maxRows, and renumbers the rows if an end is known. */
  private settle(): void {
    const over = this.rows.length - maxRows;
    if (over > 0) {
      const middle = (this.want.from + this.want.to) / 2;
      if (middle > this.first + this.rows.length / 2) {
        this.rows.splice(0, over);
        this.first += over;
        this.atStart = false;
      } else {
        this.rows.length = maxRows;
        this.atEnd = false;
      }
    }
    const count = this.count();
    if (this.atStart) this.renumber(0);
    else if (this.atEnd && count !== undefined && count > this.rows.length)
      this.renumber(count - this.rows.length);
    else if (this.first < 1) this.renumber(pageSize);
  }

  private renumber(first: number): void {
    const by = first - this.first;
    this.first = first;
    this.shift += by;
    this.want = { from: this.want.from + by, to: this.want.to + by };
  }

  /** Estimates the seq before a row, by interpolation between the nearest rows with a known seq. */
  private guessSeq(index: number): number {
    const [a, b] = this.around((point) => point.index <= index);
    const part = b.index > a.index ? (index - a.index) / (b.index - a.index) : 0;
    return Math.floor(a.seq + part * (b.seq - a.seq));
  }

  private guessFirst(): number {
    const seq = this.rows[0]?.seq ?? 0;
    return Math.floor(((this.count() ?? 0) * seq) / Math.max(this.upTo, seq, 1));
  }

  private guessIndex(seq: number): number {
    const [a, b] = this.around((point) => point.seq <= seq);
    const part = b.seq > a.seq ? (seq - a.seq) / (b.seq - a.seq) : 0;
    return Math.floor(a.index + part * (b.index - a.index));
  }

  private around(isBefore: (point: { index: number; seq: number }) => boolean) {
    const start = { index: 0, seq: 0 };
    const end = { index: this.total(), seq: Math.max(this.upTo, this.rows.at(-1)?.seq ?? 0) };
    const points = [start];
    const [one, other] = [this.rows[0], this.rows.at(-1)];
    if (one && other) {
      points.push({ index: this.first, seq: one.seq - 1 });
      points.push({ index: this.first + this.rows.length, seq: other.seq });
    }
    points.push(end);
    const at = points.findLastIndex(isBefore);
    return [points[at] ?? start, points[at + 1] ?? end] as const;
  }
}
