#!/usr/bin/env node
// Runs Vitest with the given arguments. The last line has only the counts, as that of
// tools/gotest does:
//
//	12 passed, 0 failed, 0 skipped
//
// It exits 1 unless every test ran and passed. Skipped tests, todo tests and a run without
// tests are failures.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "ospulse-counts-"));
const report = join(folder, "report.json");
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
const { status } = spawnSync("npx", ["vitest", "run", ...process.argv.slice(2), ...reporters], {
  cwd: web,
  stdio: "inherit",
});
try {
  const counts = JSON.parse(readFileSync(report, "utf8"));
  const skipped = counts.numPendingTests + counts.numTodoTests;
  const isWhole = counts.success && counts.numFailedTests === 0 && skipped === 0 && counts.numPassedTests > 0;
  console.log(`${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${skipped} skipped`);
  process.exitCode = status === 0 && isWhole ? 0 : 1;
} catch {
  console.log("the tests returned no counts");
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
