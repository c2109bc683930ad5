import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { plural } from "@/lib/number";

/** How many variables are shown before a click. */
const shownCount = 5;

/** The environment that a program got. Programs under observation choose names and values. */
export interface Variables {
  /**
   * Names and values. Those of the dynamic loader come first, because they decide which code
   * runs; the others are in their order. An entry that is no variable has no name.
   */
  list: readonly { name?: string; value: string }[];
  /** The agent kept only the beginning. */
  isCut: boolean;
}

/** The environment in the event that created a process; "unknown" if no event reports it. */
export function Environment({ sessionId, seq }: { sessionId: string; seq: number | undefined }) {
  const [isOpen, setOpen] = useState(false);
  const { data, isPending } = useQuery({
    queryKey: keys.of(sessionId, "environment", seq),
    queryFn: async ({ signal }) => {
      if (seq === undefined) return null;
      const path = { sessionId, seq };
      const event = await call(
        api.GET("/api/sessions/{sessionId}/events/{seq}", { params: { path }, signal }),
      );
      return variablesIn(event.data) ?? null;
    },
  });
  if (isPending) return "…";
  if (!data) return "unknown";
  const shown = isOpen ? data.list : data.list.slice(0, shownCount);
  return (
    <>
      <VariableList variables={{ ...data, list: shown }} />
      {data.list.length > shownCount && (
        <button
          type="button"
          aria-expanded={isOpen}
          className="min-h-6 text-xs text-accent hover:underline"
          onClick={() => setOpen(!isOpen)}
        >
          {isOpen ? "Show fewer" : `Show all ${plural(data.list.length, "variable")}`}
        </button>
      )}
    </>
  );
}

/** A line for each variable. */
export function VariableList({ variables: { list, isCut } }: { variables: Variables }) {
  return (
    <>
      {list.length === 0 && !isCut && <span className="text-muted">empty</span>}
      <ul className="font-mono text-xs break-all">
        {list.map(({ name, value }, index) => (
          <li key={index}>
            {name !== undefined && (
              <>
                <SafeText text={name} limit={200} className="text-muted" />
                <span className="text-muted">=</span>
              </>
            )}
            <SafeText text={value} limit={2000} />
          </li>
        ))}
      </ul>
      {isCut && (
        <span className="text-xs text-warn">The agent kept only the beginning of the environment.</span>
      )}
    </>
  );
}

/** The environment in the data of a process_creation. Any client can send such an event. */
export function variablesIn(data: unknown): Variables | undefined {
  const { environment, environmentRest, environmentTruncated } = (data ?? {}) as Record<string, unknown>;
  if (typeof environment !== "object" || environment === null || Array.isArray(environment)) return undefined;
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const rest = Array.isArray(environmentRest) ? environmentRest : [];
  const list = [
    ...Object.entries(environment).map(([name, value]) => ({ name, value: text(value) })),
    ...rest.map((value) => ({ name: undefined, value: text(value) })),
  ];
  const isLoader = ({ name, value }: (typeof list)[number]) => (name ?? value).startsWith("LD_");
  return {
    list: [...list.filter(isLoader), ...list.filter((variable) => !isLoader(variable))],
    isCut: environmentTruncated === true,
  };
}
