/** The state of a feed, or of counts, and its listeners. */
export class FeedStore<State> {
  private state: State;
  private listeners = new Set<() => void>();

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
    this.state = this.compute();
    for (const listener of this.listeners) listener();
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
