import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
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
  await buildDashboard(join(folder, "dist"));
  // Like the releases, but not stripped: that would compile everything again.
  const env = { ...process.env, CGO_ENABLED: "0" };
  const go = (out: string, what: string) =>
    run("go", ["build", "-buildvcs=false", "-o", out, what], { cwd: repository, env });
  await go(programs.backend, "main.go");
  await go(programs.agent, "./agent");
  return { programs, remove: () => rm(folder, { recursive: true, force: true }) };
}

/**
 * Builds the dashboard, and puts it into dist if dist has another version. Otherwise dist
 * stays untouched: other tests may be compiling the backend meanwhile.
 */
async function buildDashboard(built: string): Promise<void> {
  // The production build; Vitest sets NODE_ENV to test.
  const env = { ...process.env, NODE_ENV: "production" };
  await run("npm", ["run", "build", "--", "--outDir", built, "--emptyOutDir"], { cwd: web, env });
  const dist = join(web, "dist");
  const made = await filesOf(built);
  const old = await filesOf(dist);
  const isSame = async (name: string) =>
    old.includes(name) && (await readFile(join(built, name))).equals(await readFile(join(dist, name)));
  for (const name of made)
    if (!(await isSame(name))) await cp(join(built, name), join(dist, name), { force: true });
  for (const name of old) if (!made.includes(name)) await rm(join(dist, name));
}

/** The names of all files in a folder and its folders. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}
