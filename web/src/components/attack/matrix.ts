import { useQuery } from "@tanstack/react-query";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import type { components } from "@/api/schema";

type Schemas = components["schemas"];
export type AttackMatrix = Schemas["AttackMatrix"];
export type AttackTactic = Schemas["AttackTactic"];
export type AttackCell = Schemas["AttackCell"];

/** The matrix of a session. It is asked for again when version changes, which stands for the findings. */
export function useAttackMatrix(sessionId: string, version: string) {
  return useQuery({
    queryKey: keys.of(sessionId, "attack", version),
    // Without a format, the answer is no layer.
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/attack", { params: { path: { sessionId } }, signal }),
      ) as Promise<AttackMatrix>,
    placeholderData: (before) => before,
  });
}

/** Reports whether a finding is of a technique, by its ID, or of a tactic, by its short name. */
export function isOf(
  { tactics, techniques }: Pick<Schemas["Finding"], "tactics" | "techniques">,
  id: string,
) {
  return tactics.includes(id) || techniques.some((technique) => technique.id === id);
}

/** "Command and Scripting Interpreter: Unix Shell", as ATT&CK writes it. */
export function fullName({ name, parent_name, state }: Pick<AttackCell, "name" | "parent_name" | "state">) {
  if (state === "unknown") return "Unknown technique";
  return `${parent_name === null ? "" : `${parent_name}: `}${name}${state === "deprecated" ? " (deprecated)" : ""}`;
}
