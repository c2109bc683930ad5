import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { ApiError, api, call } from "./client";
import { contact } from "./contact";
import type { components } from "./schema";

export type Actor = components["schemas"]["Actor"];
export type Role = Actor["role"];

/** Who uses the page. The query fails with 401 if the browser must sign in. */
export const actorQuery = queryOptions({
  queryKey: ["actor"],
  queryFn: ({ signal }) => call(api.GET("/api/me", { signal })),
  staleTime: Number.POSITIVE_INFINITY,
  retry: false, // the page appears at once, also if the backend cannot be reached
});

/** Who uses the page, and whether the browser must sign in. */
export function useActor(): { actor?: Actor; mustSignIn: boolean; isPending: boolean } {
  const { data, error, isPending } = useQuery(actorQuery);
  const queries = useQueryClient();
  useEffect(() => {
    // Any request may be the first to learn that the sign-in has ended.
    const ask = () => {
      if (queries.getQueryData(actorQuery.queryKey))
        void queries.invalidateQueries({ queryKey: actorQuery.queryKey });
    };
    contact.addEventListener("unauthorized", ask);
    return () => contact.removeEventListener("unauthorized", ask);
  }, [queries]);
  const mustSignIn = error instanceof ApiError && error.status === 401;
  return { actor: mustSignIn ? undefined : data, mustSignIn, isPending };
}

const ranks: Record<Role, number> = { agent: 0, viewer: 1, analyst: 2, admin: 3 };

/** Whether the user of the page may do what needs a role. The backend decides; this hides what it would refuse. */
export function useMay(role: Role): boolean {
  const { data } = useQuery({ ...actorQuery, enabled: false });
  return data === undefined || ranks[data.role] >= ranks[role];
}
