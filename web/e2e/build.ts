import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const web = new URL("..", import.meta.url).pathname;
const repository = join(web, "..");

/** The paths of the programs that were just built. */
export interface Programs {
  backend: string;
  agent: string;
}

/** Builds the dashboard into dist, then the backend, which embeds it, and the agent. */
export async function buildPrograms(): Promise<{ programs: Programs; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "ospulse-web-"));
  const programs = { backend: join(folder, "ospulse-backend"), agent: join(folder, "ospulse-agent") };
  // The production build; Vitest sets NODE_ENV to test.
  await run("npm", ["run", "build"], { cwd: web, env: { ...process.env, NODE_ENV: "production" } });
  // Like the releases, but not stripped: that would compile everything again.
  const env = { ...process.env, CGO_ENABLED: "0" };
  const go = (out: string, what: string) =>
    run("go", ["build", "-buildvcs=false", "-o", out, what], { cwd: repository, env });
  await go(programs.backend, "main.go");
  await go(programs.agent, "./agent");
  return { programs, remove: () => rm(folder, { recursive: true, force: true }) };
}
