import type { ReactNode } from "react";
import { type Role, useMay } from "@/api/actor";

/** Shows its content to users with at least the role. */
export function ForRole({ least, children }: { least: Role; children: ReactNode }) {
  return useMay(least) && children;
}
