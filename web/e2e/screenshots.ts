import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, BrowserContextOptions } from "playwright-core";
import { buildPrograms } from "./build";
import { Backend, launchBrowser, until } from "./harness";
import { openView, type ViewName, views } from "./pages";
import { storyEvents } from "./story";

const folder = new URL("../../docs/screenshots", import.meta.url).pathname;
const sizes = { wide: { width: 1440, height: 900 }, narrow: { width: 390, height: 844 } };

/** Takes screenshots of every view in both themes and at both widths. */
export async function main(): Promise<number> {
  const { programs, remove } = await buildPrograms();
  const backend = await Backend.start(programs);
  const browser = await launchBrowser(["--force-device-scale-factor=1"]);
  try {
    await backend.startAgent();
    const live = await watchedSession(backend);
    const made = await backend.createSession("invoice.sh", "#!/bin/sh\n");
    await backend.postEvents(made, storyEvents(new Date(Date.now() - 700_000)));
    await mkdir(folder, { recursive: true });
    for (const colorScheme of ["light", "dark"] as const)
      for (const [width, viewport] of Object.entries(sizes))
        await pictureAll(
          browser,
          { colorScheme, viewport, baseURL: backend.url },
          `${colorScheme}-${width}`,
          live,
          made,
        );
    await backend.post("/api/monitor/stop", { sessionId: live });
  } finally {
    await browser.close();
    await backend.remove();
    await remove();
  }
  return 0;
}

async function pictureAll(
  browser: Browser,
  options: BrowserContextOptions,
  suffix: string,
  live: string,
  made: string,
) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const picture = async (name: string) => {
    await until(
      "nothing is loading",
      async () => (await page.getByText(/^(Loading|Looking|Asking|Counting)/).count()) === 0,
    );
    await page.screenshot({ path: join(folder, `${name}-${suffix}.png`) });
  };
  await page.goto("/");
  await page.getByRole("row", { name: /invoice/ }).waitFor();
  await picture("sessions");
  const chosen: Partial<Record<ViewName, number>> = { processes: 3, files: 2, http: 6, network: 0 };
  for (const view of views) {
    const rows = await openView(page, made, view);
    await page.locator(".cm-content").waitFor();
    if (await page.getByRole("button", { name: "Timeline", expanded: true }).count())
      await page.getByRole("slider", { name: "Span of time" }).waitFor();
    await picture(view);
    // At its left edge: a click on a value opens a menu.
    await rows.nth(chosen[view] ?? 5).click({ position: { x: 24, y: 12 } });
    await until(
      `the details in ${view}`,
      async () =>
        (await page.getByRole("complementary").or(page.locator("[aria-selected=true]")).count()) > 0,
    );
    await picture(`${view}-chosen`);
  }
  await openView(page, live, "events");
  await page.getByRole("button", { name: "Following" }).waitFor();
  await page.locator(".cm-content").waitFor();
  await picture("live");
  await context.close();
}

/** A session of the real agent, which monitors a script that reads, writes, forks and sends requests to a local server. */
async function watchedSession(backend: Backend): Promise<string> {
  const server = createServer((request, response) => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ ok: true, path: request.url }));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const script = `cd "$(mktemp -d)"
while :; do
  echo "a line of notes" >> notes.txt
  cp notes.txt copy.txt; mv copy.txt kept.txt; rm kept.txt
  curl -s "http://127.0.0.1:${port}/v1/status?round=$RANDOM" > answer.json
  /usr/bin/python3 -c 'import json; print(json.load(open("answer.json")))' > /dev/null
  sleep 0.2
done`;
  const child = spawn("/bin/bash", ["-c", script], { stdio: "ignore" });
  process.on("exit", () => child.kill("SIGKILL"));
  server.unref();
  child.unref();
  const sessionId = await backend.createSession("notes.sh", script);
  await backend.post("/api/start-monitor", { sessionId, mode: 2, processes: [child.pid] });
  await until("events of the script", async () => {
    const { event_count } = await backend.get<{ event_count: number }>(`/api/sessions/${sessionId}`);
    return event_count > 1000;
  });
  return sessionId;
}
