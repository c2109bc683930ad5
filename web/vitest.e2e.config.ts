import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["e2e/**/*.test.ts"],
    globalSetup: ["e2e/setup.ts"],
    // A browser, a backend and an agent each: more side by side would only measure the machine.
    maxWorkers: 2,
    // Long enough for a machine that does much else besides.
    testTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
    hookTimeout: 60_000,
    passWithNoTests: false,
    allowOnly: false,
  },
});
