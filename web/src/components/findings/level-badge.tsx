import type { ReactNode } from "react";
import type { Level } from "@/api/client";
import { levelLooks } from "./level";

/** A level, on request with a number of findings before it. */
export function LevelBadge({ level, children }: { level: Level; children?: ReactNode }) {
  return (
    <span className={`rounded px-1 ${levelLooks[level]}`}>
      {children}
      {level}
    </span>
  );
}
