import { readFile } from "node:fs/promises";
import type { Browser, CDPSession, Page } from "playwright-core";
import type { Programs } from "../e2e/build";
import { Backend, patience, until } from "../e2e/harness";
import { openView, rows, viewPath } from "../e2e/pages";
import { type Frames, recordFrames, takeFrames } from "./frames";
import { fill, pour } from "./load";

const size = { width: 1440, height: 900 };

export async function freshPage(browser: Browser, baseURL: string): Promise<Page> {
  const context = await browser.newContext({ viewport: size, baseURL });
  context.setDefaultTimeout(patience);
  return context.newPage();
}

/** The time from the start of the backend's process to the first row of the first view, in milliseconds. */
export async function coldStart(browser: Browser, backend: Backend): Promise<number> {
  await backend.kill();
  const page = await freshPage(browser, backend.url);
  const began = performance.now();
  // The browser connects before the backend listens, and retries.
  const started = backend.restart();
  await until("the page", () =>
    page.goto("/").then(
      () => true,
      () => false,
    ),
  );
  await page.getByRole("row", { name: /first\.sh/ }).waitFor();
  const millis = performance.now() - began;
  await started;
  await page.context().close();
  return millis;
}

/** The compressed bytes of JavaScript that a page loads. */
export async function scriptBytes(browser: Browser, backend: Backend, path: string): Promise<number> {
  const page = await freshPage(browser, backend.url);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const scripts = new Set<string>();
  let bytes = 0;
  network.on(
    "Network.responseReceived",
    ({ requestId, type }) => type === "Script" && scripts.add(requestId),
  );
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (scripts.has(requestId)) bytes += encodedDataLength;
  });
  await page.goto(path);
  await page.getByRole("row").nth(1).waitFor();
  await page.context().close();
  return bytes;
}

/** The results of a page during a flood of events. */
export interface Live {
  frames: Frames;
  stored: number;
  seconds: number;
  /** The page's count of events when the last one was stored, and a moment later. */
  behind: number;
  /** Memory of the tab's process and of its scripts, in MB: after start-up, the most, and at the end. */
  process: { first: number; most: number; last: number };
  heap: { first: number; last: number };
}

/** Follows a live session at a rate of events per second, after ten seconds of start-up. */
export async function watchLive(
  browser: Browser,
  backend: Backend,
  perSecond: number,
  minutes: number,
): Promise<Live> {
  const page = await freshPage(browser, backend.url);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  await page.goto(viewPath("unassigned", "events"));
  const stop = pour(backend, "unassigned", perSecond);
  await rows(page, "events").first().waitFor();
  await page.getByRole("button", { name: "Following" }).waitFor();
  await pause(10_000);
  const pid = await rendererPID(browser);
  await recordFrames(page);
  const began = Date.now();
  const heap = { first: await heapMB(devtools), last: 0 };
  const first = await privateMB(pid);
  const process = { first, most: first, last: first };
  const all: Frames[] = [];
  await takeFrames(page); // frames of the forced garbage collection
  while (Date.now() - began < minutes * 60_000) {
    await pause(Math.min(5000, minutes * 60_000));
    all.push(await takeFrames(page));
    process.last = await privateMB(pid);
    process.most = Math.max(process.most, process.last);
  }
  const seconds = (Date.now() - began) / 1000;
  const stored = await stop();
  const grid = page.getByRole("grid", { name: "Events" });
  const behind = stored - (Number(await grid.getAttribute("aria-rowcount")) - 1);
  heap.last = await heapMB(devtools);
  await page.context().close();
  return { frames: together(all), stored, seconds, behind, process, heap };
}

function together(all: Frames[]): Frames {
  const most = (of: (frames: Frames) => number) => Math.max(...all.map(of));
  const mean = (of: (frames: Frames) => number) =>
    all.reduce((sum, frames) => sum + of(frames), 0) / all.length;
  return {
    count: all.reduce((sum, frames) => sum + frames.count, 0),
    p50: mean((frames) => frames.p50),
    p95: mean((frames) => frames.p95),
    longest: most((frames) => frames.longest),
    longestTask: most((frames) => frames.longestTask),
  };
}

/** Makes a session with many events. */
export async function makeLarge(
  backend: Backend,
  count: number,
  onProgress: (done: number) => void,
): Promise<string> {
  const session = await backend.createSession("large.bin", "large");
  await fill(backend, session, count, onProgress);
  return session;
}

/**
 * The time from a click on a session in the list until its summary is drawn, and from a click on
 * *Events* until the first rows and the timeline are drawn, in milliseconds.
 */
export async function openLarge(
  browser: Browser,
  backend: Backend,
): Promise<{ summary: number; events: number }> {
  const page = await freshPage(browser, backend.url);
  await page.goto("/");
  await page.getByRole("link", { name: "large.bin" }).waitFor();
  const millis = await page.evaluate(async (most) => {
    const clicked = async (text: string, shown: readonly string[]) => {
      const began = performance.now();
      [...document.querySelectorAll("a")].find((a) => a.textContent?.includes(text))?.click();
      while (!shown.every((selector) => document.querySelector(selector))) {
        if (performance.now() - began > most) throw new Error(`${shown.join(" and ")} do not appear`);
        await new Promise(requestAnimationFrame);
      }
      return performance.now() - began;
    };
    return {
      summary: await clicked("large.bin", ["ol[aria-label=Steps] li"]),
      events: await clicked("Events", [
        "[role=grid][aria-label=Events] [role=gridcell][aria-colindex='2']",
        "[role=slider][aria-label='Span of time'] canvas",
      ]),
    };
  }, patience);
  await page.context().close();
  return millis;
}

/** Scrolls a large session by the wheel: from its beginning, from its middle, and up from its end. */
export async function scrollLarge(
  browser: Browser,
  backend: Backend,
  session: string,
): Promise<{ wheel: Frames; jumps: Frames }> {
  const page = await freshPage(browser, backend.url);
  await openView(page, session, "events");
  const grid = page.getByRole("grid", { name: "Events" });
  await grid.hover();
  await grid.focus();
  await pause(1000); // for code that the page loads when idle
  await recordFrames(page);
  const all: Frames[] = [];
  // 10,000 px per second, the speed of a fast wheel, and a hundred times that.
  for (const [key, by] of [
    ["Home", 240],
    ["End", -240],
    ["Home", 2400],
    ["End", -24_000],
  ] as const) {
    await page.keyboard.press(key);
    await pause(300);
    await takeFrames(page);
    const until = Date.now() + 3000;
    while (Date.now() < until) await page.mouse.wheel(0, by);
    all.push(await takeFrames(page));
  }
  await page.context().close();
  const worst = (some: Frames[]) => ({
    ...together(some),
    p95: Math.max(...some.map((frames) => frames.p95)),
  });
  return { wheel: worst(all.slice(0, 2)), jumps: worst(all.slice(2)) };
}

const pause = (millis: number) => new Promise((done) => setTimeout(done, millis));

/** The script memory in use after a garbage collection. */
async function heapMB(devtools: CDPSession): Promise<number> {
  await devtools.send("HeapProfiler.collectGarbage");
  const { metrics } = await devtools.send("Performance.getMetrics");
  return (metrics.find((metric) => metric.name === "JSHeapUsedSize")?.value ?? 0) / 2 ** 20;
}

/** The process of the open page: the busiest renderer. */
async function rendererPID(browser: Browser): Promise<number> {
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  const renderers = processInfo
    .filter((info) => info.type === "renderer")
    .sort((a, b) => b.cpuTime - a.cpuTime);
  await devtools.detach();
  return renderers[0]?.id ?? 0;
}

/** The private memory of the process, as Chromium's task manager counts it: without the program's code. */
async function privateMB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kB = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
  return (kB("RssAnon") + kB("VmSwap")) / 1024;
}

export async function startBackend(programs: Programs): Promise<Backend> {
  const backend = await Backend.start(programs);
  await backend.createSession("first.sh", "true");
  return backend;
}
