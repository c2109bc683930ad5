import type { FeedState } from "./event-feed";

// A live session redraws this often, whatever comes.
const liveMillis = 250;

/** The state of a feed and who listens to it. */
export class FeedStore {
  private state: FeedState;
  private listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly compute: () => FeedState) {
    this.state = compute();
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  getState = () => this.state;

  /** Tells all listeners now. */
  changed(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.state = this.compute();
    for (const listener of this.listeners) listener();
  }

  /** Tells them soon, once for all that came until then. */
  changedSoon(): void {
    this.timer ??= setTimeout(() => this.changed(), liveMillis);
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
