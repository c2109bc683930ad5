#!/usr/bin/env node
// Runs a program in TypeScript, with the arguments that follow: run-ts.mjs FILE ARGUMENT…
// Its main(arguments) returns the exit code.
import { resolve } from "node:path";
import { runnerImport } from "vite";

const [file, ...args] = process.argv.slice(2);
const { module } = await runnerImport(resolve(file), { configFile: false, logLevel: "error" });
process.exit(await module.main(args));
