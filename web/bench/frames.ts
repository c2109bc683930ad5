import type { Page } from "playwright-core";

/** The durations of frames, in milliseconds. */
export interface Frames {
  count: number;
  p50: number;
  p95: number;
  longest: number;
  /** The longest task of the main thread, of those over 50 ms. */
  longestTask: number;
}

interface Recorder {
  ospulseFrames: { deltas: number[]; tasks: number[] };
}

/**
 * Makes a page record the times between its frames. A headless browser draws 60 times per
 * second by a timer, so a slow frame shows as a longer time to the next one.
 */
export async function recordFrames(page: Page): Promise<void> {
  await page.evaluate(() => {
    const recorder = { deltas: [] as number[], tasks: [] as number[] };
    (globalThis as unknown as Recorder).ospulseFrames = recorder;
    let last = performance.now();
    // The time of the frame, not of the callback.
    const tick = (now: number) => {
      recorder.deltas.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) recorder.tasks.push(entry.duration);
    }).observe({ type: "longtask" });
  });
}

/** Returns and clears the recorded times. */
export async function takeFrames(page: Page): Promise<Frames> {
  const { deltas, tasks } = await page.evaluate(() => {
    const recorder = (globalThis as unknown as Recorder).ospulseFrames;
    const taken = { deltas: [...recorder.deltas], tasks: [...recorder.tasks] };
    recorder.deltas.length = 0;
    recorder.tasks.length = 0;
    return taken;
  });
  deltas.sort((a, b) => a - b);
  const at = (part: number) => deltas[Math.min(deltas.length - 1, Math.floor(deltas.length * part))] ?? 0;
  return {
    count: deltas.length,
    p50: at(0.5),
    p95: at(0.95),
    longest: at(1),
    longestTask: Math.max(0, ...tasks),
  };
}
