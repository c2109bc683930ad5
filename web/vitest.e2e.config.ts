import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["e2e/**/*.test.ts"],
    globalSetup: ["e2e/setup.ts"],
    // Each file has a browser, a backend and an agent; more in parallel would overload the machine.
    maxWorkers: 2,
    // Long enough for a busy machine.
    testTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
    hookTimeout: 60_000,
    passWithNoTests: false,
    allowOnly: false,
  },
});
