import { defineConfig } from "vitest/config";
import { patience } from "./e2e/harness";

export default defineConfig({
  test: {
    environment: "node",
    include: ["e2e/**/*.test.ts"],
    globalSetup: ["e2e/setup.ts"],
    // Each file has a browser, a backend and an agent; more in parallel would overload the machine.
    maxWorkers: 2,
    // Each wait has the same long limit: the machine may be busy.
    testTimeout: 3 * patience,
    expect: { poll: { timeout: patience } },
    hookTimeout: patience,
    passWithNoTests: false,
    allowOnly: false,
  },
});
