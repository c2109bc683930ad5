// The shortest time between two redraws of a live session.
const liveMillis = 250;

/** The state of a feed, or of counts, and its listeners. */
export class FeedStore<State> {
  private state: State;
  private listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly compute: () => State) {
    this.state = compute();
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  getState = () => this.state;

  /** Computes the state and calls all listeners now. */
  changed(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.state = this.compute();
    for (const listener of this.listeners) listener();
  }

  /**
   * Does the same soon, once for all changes until then. All stores do it at the same
   * moments, so that the rows and the counts on a page show the same events.
   */
  changedSoon(): void {
    this.timer ??= setTimeout(() => this.changed(), liveMillis - (performance.now() % liveMillis));
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
