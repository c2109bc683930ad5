import { ApiError } from "./client";

/**
 * One stream of Server-Sent Events that stays: it comes back by itself where it was,
 * and gives way to asking now and then when this browser has no connection to spare.
 *
 * A browser has six HTTP/1.1 connections to a host, for all its tabs. Streams take
 * part in a queue for four of them, so that the other two are there for requests:
 * the fifth tab polls until one of the four is closed.
 */
export type StreamState = "connecting" | "live" | "polling" | "lost" | "refused";

export interface StreamOptions {
  /** The address, from where the reader stands by then. */
  url: () => string;
  /** What to do with the data of a message, by its event type ("message" is the unnamed one). */
  on: Record<string, (data: unknown) => void>;
  /** Is told the id of each message after its data was handled. */
  onId?: (id: string) => void;
  onState: (state: StreamState) => void;
  /** Gets what came since the last message or poll, where there is no connection to spare. */
  poll: (signal: AbortSignal) => Promise<void>;
}

const slots = 4;
const pollMillis = 1000;
const slotMillis = 5000;
const retryMillis = { first: 1000, most: 10_000 };

/** Opens the stream; the function that it gives closes it. */
export function openStream(options: StreamOptions): () => void {
  const ending = new AbortController();
  const { signal } = ending;
  void (async () => {
    options.onState("connecting");
    let refused = false;
    while (!signal.aborted && !refused) {
      const release = await takeSlot(signal);
      refused = release
        ? await stream(options, signal).finally(release)
        : await pollFor(options, signal, slotMillis);
    }
    if (refused && !signal.aborted) options.onState("refused");
  })();
  return () => ending.abort();
}

/**
 * Streams until the signal, until the page is hidden where the slots cannot be shared, or
 * until it is refused for good: it tells that by true.
 */
async function stream(options: StreamOptions, signal: AbortSignal): Promise<boolean> {
  let wait = retryMillis.first;
  while (!signal.aborted && maySpare()) {
    await new Promise<void>((done) => {
      const source = new EventSource(options.url());
      const end = () => {
        source.close();
        signal.removeEventListener("abort", end);
        document.removeEventListener("visibilitychange", endIfHidden);
        done();
      };
      const endIfHidden = () => {
        if (!maySpare()) end();
      };
      signal.addEventListener("abort", end);
      document.addEventListener("visibilitychange", endIfHidden);
      source.onopen = () => {
        wait = retryMillis.first;
        options.onState("live");
      };
      source.onerror = () => {
        options.onState("lost");
        // Whoever is refused, with a 429 or a 503, is not connected again by the browser.
        if (source.readyState === EventSource.CLOSED) end();
      };
      const listen = (type: string, handle?: (data: unknown) => void) =>
        source.addEventListener(type, (event) => {
          const message = event as MessageEvent<string>;
          if (handle && message.data !== "") handle(JSON.parse(message.data));
          if (message.lastEventId !== "") options.onId?.(message.lastEventId);
        });
      for (const [type, handle] of Object.entries(options.on)) listen(type, handle);
      if (!options.on.message) listen("message");
    });
    if (signal.aborted || !maySpare()) return false;
    // A browser does not say why it was not connected; asking does.
    try {
      await options.poll(signal);
    } catch (error) {
      if (isRefusal(error)) return true;
    }
    await sleep(wait, signal);
    wait = Math.min(wait * 2, retryMillis.most);
  }
  return false;
}

/** A filter that cannot be read, or a session that is not there, will not do at the next try either. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 400 || error.status === 404);
}

async function pollFor(options: StreamOptions, signal: AbortSignal, millis: number): Promise<boolean> {
  const until = Date.now() + millis;
  while (!signal.aborted && (Date.now() < until || !maySpare())) {
    try {
      await options.poll(signal);
      if (!signal.aborted) options.onState("polling");
    } catch (error) {
      if (isRefusal(error)) return true;
      if (!signal.aborted) options.onState("lost");
    }
    await sleep(pollMillis, signal);
  }
  return false;
}

/** Web Locks are there on localhost and HTTPS only; elsewhere, what is hidden gives way. */
const canShare = () => "locks" in navigator;
const maySpare = () => canShare() || document.visibilityState === "visible";

/** Takes one of the connections for streams; undefined when all are taken. */
async function takeSlot(signal: AbortSignal): Promise<(() => void) | undefined> {
  if (!canShare()) return maySpare() ? () => {} : undefined;
  for (let i = 0; i < slots && !signal.aborted; i++) {
    const release = await new Promise<(() => void) | undefined>((done) => {
      navigator.locks
        .request(`ospulse-stream-${i}`, { ifAvailable: true }, (lock) => {
          if (!lock) return done(undefined);
          return new Promise<void>((free) => done(free));
        })
        .catch(() => done(undefined));
    });
    if (release) return release;
  }
  return undefined;
}

function sleep(millis: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const timer = setTimeout(end, millis);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    }
    signal.addEventListener("abort", end);
  });
}
