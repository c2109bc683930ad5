import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ApiError, api, call } from "@/api/client";

/** Returns a value once it has not changed for some time. */
function useSettled<T>(value: T, millis: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), millis);
    return () => clearTimeout(timer);
  }, [value, millis]);
  return settled;
}

/** Checks the text of a rule after a pause in typing: what is wrong with it, or the rule that it is. */
export function useRuleCheck(text: string) {
  const settled = useSettled(text, 300);
  const { data, error } = useQuery({
    queryKey: ["rule-check", settled],
    queryFn: ({ signal }) =>
      call(api.POST("/api/rules/test", { body: { text: settled, session_ids: [] }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
  });
  const fault = error instanceof ApiError ? error.fault : undefined;
  return { rule: data?.rule, fault, error: error ?? undefined, isCurrent: settled === text };
}
