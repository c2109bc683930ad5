import type { ListedEvent } from "./client";
import { FeedStore } from "./feed-store";

/** The events up to a seq, counted by type. */
export interface Counted {
  upTo: number;
  types: Readonly<Record<string, number>>;
}

interface State {
  /** The seq that the stream has reached; 0 before its first message. */
  upTo: number;
  /** The selected events by type, including those that arrived since the backend counted; undefined until it has. */
  types: Readonly<Record<string, number>> | undefined;
}

/**
 * Keeps the counts of the events that a filter selects up to date: it adds the events of
 * the stream to the last counts of the backend.
 */
export class EventCounts {
  private upTo = 0;
  private counted: Counted | undefined;
  /** The types of the received events after the seq `from`. */
  private recent: { seq: number; type: string }[] = [];
  private from: number | undefined;
  private store = new FeedStore<State>(() => ({ upTo: this.upTo, types: this.types() }));
  subscribe = this.store.subscribe;
  getState = this.store.getState;

  /** position is the seq after which the stream continues; undefined for a new stream. */
  constructor(position: number | undefined) {
    this.from = position;
    this.upTo = position ?? 0;
    this.store.changed();
  }

  receive(events: readonly ListedEvent[], upTo: number): void {
    this.from ??= (events[0]?.seq ?? upTo + 1) - 1;
    this.upTo = Math.max(this.upTo, upTo);
    for (const { seq, event_type } of events) this.recent.push({ seq, type: event_type });
    this.store.changed();
  }

  /** Takes counts of the backend. It ignores counts that are older than what it knows. */
  count(counted: Counted): void {
    const known = this.counted?.upTo ?? 0;
    if (counted.upTo < Math.max(this.from ?? 0, known)) return;
    this.counted = counted;
    this.from = counted.upTo;
    this.recent = this.recent.filter(({ seq }) => seq > counted.upTo);
    this.store.changed();
  }

  private types(): State["types"] {
    if (!this.counted) return undefined;
    const types: Record<string, number> = { ...this.counted.types };
    for (const { type } of this.recent) types[type] = (types[type] ?? 0) + 1;
    return types;
  }
}
