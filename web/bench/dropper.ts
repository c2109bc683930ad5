import { readFile } from "node:fs/promises";
import type { Browser } from "playwright-core";
import type { Backend } from "../e2e/harness";
import { freshPage } from "./measure";

/** What the summary tells of the dropper, in words of its steps. */
const deeds = [
  "made a program start at login of the desktop",
  "changed a shell start-up file of a user",
  "asked GET http://127.0.0.1:39580/stage2",
  "/etc/shadow: it does not exist", // the sandbox has none
  "decoded base64",
  "127.0.0.1:39581: refused",
  "looked up update.example",
  "searched for files that run as root",
  "the program that was running",
];

/** The dropper of the tests as one file that the agent can run, without the part that only root can do. */
async function dropper(): Promise<string> {
  const file = new URL("../../test/recording/testdata/hostile/dropper.sh", import.meta.url);
  const [server = "", body = ""] = (await readFile(file, "utf8")).split(
    /cat >dropper <<'DROPPER'\n|\nDROPPER\n/,
  );
  return body.replace("#!/bin/bash\n", `#!/bin/bash\n${server}`).replace(/exit 3$/, "kill %1; exit 3");
}

/**
 * Runs a dropper by the agent while its summary is open. Returns the time from the end of the
 * program until all of its deeds are on the first screen, in milliseconds; negative if they
 * were before.
 */
export async function tellDropper(browser: Browser, backend: Backend): Promise<number> {
  const session = await backend.createSession("dropper.sh", `${await dropper()}\n# ${Math.random()}\n`);
  const page = await freshPage(browser, backend.url);
  await page.goto(`/sessions/${session}/summary`);
  await backend.post("/api/start-monitor", { sessionId: session, mode: 3 });
  const seen = await page.evaluate(async (all) => {
    for (;;) {
      const steps = [...document.querySelectorAll("ol[aria-label=Steps] li")];
      const isOnScreen = (deed: string) =>
        steps.some(
          (step) => step.textContent?.includes(deed) && step.getBoundingClientRect().bottom <= innerHeight,
        );
      if (all.every(isOnScreen)) return Date.now();
      await new Promise(requestAnimationFrame);
    }
  }, deeds);
  await page.context().close();
  for (;;) {
    const { end } = await backend.get<{ end: { at: string } | null }>(`/api/sessions/${session}`);
    if (end) return seen - Date.parse(end.at);
    await new Promise((done) => setTimeout(done, 100));
  }
}
