import { ApiError } from "./client";
import { doubt, heard } from "./contact";

/**
 * The state of a stream of Server-Sent Events. A stream reconnects and resumes at its
 * position. It polls while the browser has no free connection for it.
 *
 * A browser has six HTTP/1.1 connections to a host, for all its tabs. Streams share four
 * of them, so two remain for requests: the fifth tab polls until one of the four closes.
 */
export type StreamState = "connecting" | "live" | "polling" | "lost" | "refused";

export interface StreamOptions {
  /** Returns the address that resumes at the reader's current position. */
  url: () => string;
  /** Handlers of message data by event type; "message" handles messages without a type. */
  on: Record<string, (data: unknown) => void>;
  /** Receives the id of each message, after the handler of its data. */
  onId?: (id: string) => void;
  onState: (state: StreamState) => void;
  /** Fetches everything since the last message or poll. */
  poll: (signal: AbortSignal) => Promise<void>;
}

const slots = 4;
const pollMillis = 1000;
const slotMillis = 5000;
const retryMillis = { first: 1000, most: 10_000 };

/** Opens the stream, and returns a function that closes it. */
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
 * Streams until the signal aborts, the backend refuses permanently, or the page is hidden
 * in a browser that cannot share slots. Returns true if the backend refused.
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
        heard();
        wait = retryMillis.first;
        options.onState("live");
      };
      source.onerror = () => {
        options.onState("lost");
        doubt();
        // After an answer such as 429 or 503, the browser does not reconnect.
        if (source.readyState === EventSource.CLOSED) end();
      };
      const listen = (type: string, handle?: (data: unknown) => void) =>
        source.addEventListener(type, (event) => {
          heard();
          const message = event as MessageEvent<string>;
          if (handle && message.data !== "") handle(JSON.parse(message.data));
          if (message.lastEventId !== "") options.onId?.(message.lastEventId);
        });
      for (const [type, handle] of Object.entries(options.on)) listen(type, handle);
      if (!options.on.message) listen("message");
    });
    if (signal.aborted || !maySpare()) return false;
    // EventSource does not expose the status of a refusal; a poll does.
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

/** Whether a retry is useless: the filter is invalid, the session does not exist, or the browser must sign in. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && [400, 401, 404].includes(error.status);
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

/** Browsers have Web Locks only on localhost and HTTPS. Elsewhere, hidden pages give up their stream. */
const canShare = () => "locks" in navigator;
const maySpare = () => canShare() || document.visibilityState === "visible";

/** Takes one of the stream slots, and returns a function that frees it; undefined if all are taken. */
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
