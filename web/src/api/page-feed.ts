import type { ListedEvent } from "./client";
import type { EventFeed, FeedRow, FeedState, LoadPage } from "./event-feed";
import { FeedStore, isAbort } from "./feed-store";

const pageSize = 200;
const maxPages = 50; // 10,000 rows
const maxRequests = 3;
const ahead = 60; // rows loaded before they come into sight
const pumpMillis = 50; // dragging the scroll bar must not request every position on the way
const retryMillis = 2000;

/** Slots of a page: an event, null if it is not stored, or undefined if it is not loaded. */
type Page = (ListedEvent | null | undefined)[];

/**
 * All events of a session after those that had expired when the feed began: row i is seq
 * expired + i + 1, whether it is stored or not. Any row can be requested directly. The feed evicts the least recently used pages.
 */
export class PageFeed implements EventFeed {
  private pages = new Map<number, Page>(); // in order of use, the most recent last
  private old = new Map<number, Page>(); // rows with other fields, shown until the new ones arrive
  private sight = { from: 0, to: 0 };
  private wanted: number[] = [];
  private requests = new Map<number, AbortController>();
  private pumpedAt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private error: unknown;
  private hasLoaded = false;
  private store = new FeedStore<FeedState>(() => ({
    total: this.rows(),
    count: this.rows(),
    shift: 0,
    isPending: !this.hasLoaded && this.rows() > 0,
    error: this.error,
  }));
  subscribe = this.store.subscribe;
  getState = this.store.getState;

  constructor(
    private readonly load: LoadPage,
    private total: number, // the newest seq
    private readonly expired = 0,
    private fields = "",
  ) {
    this.store.changed();
  }

  private rows(): number {
    return Math.max(0, this.total - this.expired);
  }

  row(index: number): FeedRow {
    const page = Math.floor(index / pageSize);
    const found = this.pages.get(page)?.[index % pageSize];
    const slot = found === undefined ? this.old.get(page)?.[index % pageSize] : found;
    return slot === null ? { missing: this.expired + index + 1 } : slot;
  }

  indexOf(seq: number): number | undefined {
    return seq > this.expired && seq <= this.total ? seq - this.expired - 1 : undefined;
  }

  find(_seq: number): void {} // every seq has its row

  show(from: number, to: number): void {
    this.sight = { from, to };
    const first = Math.max(0, Math.floor((from - ahead) / pageSize));
    const last = Math.floor((Math.min(to + ahead, this.rows()) - 1) / pageSize);
    const middle = (from + to) / 2 / pageSize - 0.5;
    this.wanted = [];
    for (let page = first; page <= last; page++) {
      this.touch(page);
      if (this.lacks(page)) this.wanted.push(page);
    }
    this.wanted.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    for (const [page, request] of this.requests) {
      if (page < first || page > last) {
        request.abort();
        this.requests.delete(page);
      }
    }
    this.pumpSoon();
  }

  receive = (events: readonly ListedEvent[], upTo: number): void => {
    for (const event of events) this.put(event);
    const last = events.at(-1)?.seq ?? 0;
    if (upTo <= this.total && last <= this.total && events.length === 0) return;
    this.total = Math.max(this.total, upTo, last);
    if (events.length > 0) this.hasLoaded = true;
    this.evict();
    this.store.changed();
  };

  setFields(fields: string): void {
    if (fields === this.fields) return;
    this.fields = fields;
    for (const request of this.requests.values()) request.abort();
    this.requests.clear();
    for (const [page, slots] of this.pages) this.old.set(page, slots);
    this.pages.clear();
    this.show(this.sight.from, this.sight.to);
  }

  retry(): void {
    this.error = undefined;
    this.store.changed();
    this.pump();
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const request of this.requests.values()) request.abort();
    this.requests.clear();
  }

  private lacks(page: number): boolean {
    return this.firstMissing(page) < Math.min(pageSize, this.rows() - page * pageSize);
  }

  /** The first slot of a page that is not loaded; pageSize if there is none. */
  private firstMissing(page: number): number {
    const at = this.pages.get(page)?.indexOf(undefined) ?? 0;
    return at < 0 ? pageSize : at;
  }

  private pumpSoon(): void {
    if (this.wanted.length === 0 || this.timer !== undefined) return;
    const wait = this.pumpedAt + pumpMillis - performance.now();
    if (wait <= 0) this.pump();
    else this.timer = setTimeout(() => this.pump(), wait);
  }

  private pump(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pumpedAt = performance.now();
    for (const page of this.wanted) {
      if (this.requests.size >= maxRequests) break;
      if (!this.requests.has(page) && this.lacks(page)) void this.fetch(page);
    }
  }

  private async fetch(page: number): Promise<void> {
    const request = new AbortController();
    this.requests.set(page, request);
    const before = this.total;
    // The answer to a request for fields may end early, if the data is long.
    const from = this.firstMissing(page);
    try {
      const { events, has_more } = await this.load(
        {
          after: this.expired + page * pageSize + from,
          limit: pageSize - from,
          fields: this.fields || undefined,
        },
        request.signal,
      );
      if (request.signal.aborted) return;
      this.requests.delete(page);
      this.fill(page, from, events, has_more, before);
      this.hasLoaded = true;
      this.error = undefined;
      this.evict();
      if (!this.wanted.some((other) => this.lacks(other))) this.old.clear();
      this.store.changed();
      this.pump();
    } catch (error) {
      if (request.signal.aborted || isAbort(error)) return;
      this.requests.delete(page);
      this.error = error;
      this.store.changed();
      this.timer ??= setTimeout(() => this.pump(), retryMillis);
    }
  }

  /** Puts the events of an answer into a page, and marks the other seqs of the answered range as missing. */
  private fill(
    page: number,
    from: number,
    events: readonly ListedEvent[],
    hasMore: boolean,
    before: number,
  ): void {
    const first = this.expired + page * pageSize + 1;
    for (const event of events) if (event.seq < first + pageSize) this.put(event);
    const last = events.at(-1)?.seq ?? 0;
    this.total = Math.max(this.total, last);
    const known = hasMore ? last : Math.max(last, before);
    const slots = this.slotsOf(page);
    for (let i = from; i < pageSize && first + i <= known; i++) slots[i] ??= null;
  }

  private put(event: ListedEvent): void {
    const index = event.seq - this.expired - 1;
    if (index < 0) return;
    this.slotsOf(Math.floor(index / pageSize))[index % pageSize] = event;
  }

  private slotsOf(page: number): Page {
    let slots = this.pages.get(page);
    if (!slots) {
      slots = new Array<undefined>(pageSize).fill(undefined);
      this.pages.set(page, slots);
    }
    return slots;
  }

  private touch(page: number): void {
    const slots = this.pages.get(page);
    if (!slots) return;
    this.pages.delete(page);
    this.pages.set(page, slots);
  }

  private evict(): void {
    for (const page of this.pages.keys()) {
      if (this.pages.size <= maxPages) return;
      this.pages.delete(page);
    }
  }
}
