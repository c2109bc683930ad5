import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { buildPrograms } from "../e2e/build";
import { launchBrowser } from "../e2e/harness";
import { tellDropper } from "./dropper";
import {
  coldStart,
  makeLarge,
  openLarge,
  scriptBytes,
  scrollLarge,
  startBackend,
  watchLive,
} from "./measure";

const help = `Measures the dashboard in a browser without a window, beside its goals.

Usage: make bench-web [BENCHFLAGS='--minutes 10']

  --rounds N    how often a short measurement is made, of which the median counts (5)
  --minutes N   how long events pour into a live session (1; the goal says 10)
  --rate N      how many events a second (5000)
  --events N    how many events the large session has (1000000)
  --only NAME   one of start, size, live, sample, large
`;

/** One line of the report. A line without a goal is informative. */
interface Line {
  what: string;
  measured: string;
  goal?: string;
  isMet?: boolean;
}

export async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: "boolean", short: "h" },
      rounds: { type: "string", default: "5" },
      minutes: { type: "string", default: "1" },
      rate: { type: "string", default: "5000" },
      events: { type: "string", default: "1000000" },
      only: { type: "string" },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const [rounds, minutes, rate, events] = [values.rounds, values.minutes, values.rate, values.events].map(
    Number,
  ) as [number, number, number, number];
  const wants = (name: string) => values.only === undefined || values.only === name;
  const { programs, remove } = await buildPrograms();
  const browser = await launchBrowser();
  const backend = await startBackend(programs);
  const lines: Line[] = [];
  const load = loadavg()[0] ?? 0;
  if (load > 1)
    report(
      `the machine is busy (load ${load.toFixed(1)}): frame times will reflect that load, not the dashboard`,
    );
  try {
    if (wants("start")) {
      report("cold starts");
      const times = await repeat(rounds, () => coldStart(browser, backend));
      lines.push(atMost("First view, from the start of the backend's process", times, 1000, "ms"));
    }
    if (wants("size")) {
      const bytes = await scriptBytes(browser, backend, "/");
      lines.push(atMost("JavaScript of the first load, gzipped as served", [bytes / 1024], 350, "KB"));
    }
    if (wants("live")) {
      report(`${rate} events/s for ${minutes} min`);
      const live = await watchLive(browser, backend, rate, minutes);
      const speed = Math.round(live.stored / (live.seconds + 10));
      lines.push({
        what: `Live: events that were stored`,
        measured: `${live.stored.toLocaleString("en")}, ${speed.toLocaleString("en")} a second; the page was ${live.behind} behind at the end`,
      });
      lines.push(atMost("Live: longest frame", [live.frames.longest], 100, "ms"));
      lines.push({
        what: "Live: frames",
        measured: `median ${live.frames.p50.toFixed(1)} ms, p95 ${live.frames.p95.toFixed(1)} ms; longest task ${live.frames.longestTask.toFixed(0)} ms`,
      });
      lines.push(atMost("Live: peak private memory of the tab", [live.process.most], 400, "MB"));
      const growth = live.heap.last - live.heap.first;
      lines.push({
        what: "Live: memory of the tab is flat",
        measured: `process ${live.process.first.toFixed(0)} → ${live.process.last.toFixed(0)} MB, scripts ${live.heap.first.toFixed(1)} → ${live.heap.last.toFixed(1)} MB`,
        goal: "10 MB more of scripts' memory",
        isMet: growth <= 10,
      });
    }
    if (wants("sample")) {
      report("runs a dropper");
      await backend.startAgent();
      const times = await repeat(rounds, () => tellDropper(browser, backend));
      lines.push(atMost("A dropper: all its deeds on the first screen, after its end", times, 2000, "ms"));
      await backend.killAgent();
    }
    if (wants("large")) {
      const session = await makeLarge(
        backend,
        events,
        (done) => done % 100_000 === 0 && report(`${done} events stored`),
      );
      report("opens the large session");
      const name = `${events.toLocaleString("en")} events`;
      const times = await repeat(rounds, () => openLarge(browser, backend));
      for (const [what, of] of [
        ["summary, from the click on the session", "summary"],
        ["first rows and timeline, from the click on Events", "events"],
      ] as const)
        lines.push(
          atMost(
            `${name}: ${what}`,
            times.map((opened) => opened[of]),
            500,
            "ms",
          ),
        );
      const scrolls = await repeat(Math.min(rounds, 3), () => scrollLarge(browser, backend, session));
      lines.push(
        atMost(
          `${name}: scrolling by the wheel, p95 of frames`,
          scrolls.map(({ wheel }) => wheel.p95),
          20,
          "ms",
        ),
      );
      lines.push({
        what: `${name}: the same, longest frame`,
        measured: `${Math.max(...scrolls.map(({ wheel }) => wheel.longest)).toFixed(0)} ms`,
      });
      lines.push({
        what: `${name}: 10 and 100 times as fast, p95 of frames`,
        measured: `${Math.max(...scrolls.map(({ jumps }) => jumps.p95)).toFixed(0)} ms`,
      });
    }
  } finally {
    await browser.close();
    await backend.remove();
    await remove();
  }
  console.log(
    `\n${cpus().length} processors; load ${load.toFixed(1)} at the beginning, ${loadavg()[0]?.toFixed(1)} at the end\n`,
  );
  print(lines);
  return 0;
}

async function repeat<T>(times: number, measure: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let i = 0; i < times; i++) results.push(await measure());
  return results;
}

/** The median of the measurements, beside its goal. */
function atMost(what: string, measured: number[], most: number, unit: string): Line {
  const sorted = measured.toSorted((a, b) => a - b);
  const middle = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
  const digits = unit === "ms" && most < 100 ? 1 : 0;
  const range = sorted.length > 1 ? ` (${sorted[0]?.toFixed(digits)}–${sorted.at(-1)?.toFixed(digits)})` : "";
  return {
    what,
    measured: `${middle.toFixed(digits)} ${unit}${range}`,
    goal: `${most} ${unit}`,
    isMet: middle <= most,
  };
}

function print(lines: Line[]): void {
  console.log("| | measured | goal | |\n|---|---|---|---|");
  for (const { what, measured, goal, isMet } of lines)
    console.log(
      `| ${what} | ${measured} | ${goal === undefined ? "" : `≤ ${goal}`} | ${isMet === undefined ? "" : isMet ? "met" : "MISSED"} |`,
    );
}

const report = (text: string) => process.stderr.write(`bench-web: ${text}\n`);
