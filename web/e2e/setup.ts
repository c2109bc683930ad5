import type { TestProject } from "vitest/node";
import { buildPrograms, type Programs } from "./build";

declare module "vitest" {
  interface ProvidedContext {
    programs: Programs;
  }
}

/** Builds the tested programs, once for all tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { programs, remove } = await buildPrograms();
  project.provide("programs", programs);
  return remove;
}
