import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const backend = process.env.BACKEND ?? "http://localhost:3003";

/**
 * Resolves "virtual:redoc" to the URL of Redoc, which it emits as a file of its own: a
 * bundle with both would move shared code out of the dashboard's first script.
 */
function redoc(): Plugin {
  const name = "virtual:redoc";
  const logo = "https://cdn.redoc.ly/redoc/logo-mini.svg"; // the only file that Redoc loads by itself
  return {
    name: "redoc",
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load(id) {
      if (id !== `\0${name}`) return;
      const bundle = createRequire(import.meta.url).resolve("redoc/bundles/redoc.standalone.js");
      const code = readFileSync(bundle, "utf8");
      if (!code.includes(logo)) this.error(`Redoc no longer contains ${logo}`);
      const source = code.replaceAll(logo, "data:,");
      const file = this.emitFile({ type: "asset", name: "redoc.js", source });
      // The bundle refers to it by this name. Names in assets/ would need a hash.
      const license = `${bundle}.LICENSE.txt`;
      this.emitFile({ type: "asset", fileName: basename(license), source: readFileSync(license) });
      return `export default import.meta.ROLLUP_FILE_URL_${file};`;
    },
  };
}

export default defineConfig({
  // Relative: a proxy may serve the dashboard under any path.
  base: "./",
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  plugins: [react(), tailwindcss(), redoc()],
  build: {
    // The output is committed and compared with a rebuild, so it must not depend on the machine.
    target: "es2023",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    rolldownOptions: { input: ["index.html", "api-page.html"] },
  },
  server: {
    // The API page and its files come from the backend, too.
    proxy: { "/api": backend, "/assets": backend },
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/test-setup.ts"],
    testTimeout: 60_000, // bounds a hang; a busy machine is slow
    passWithNoTests: false,
  },
});
