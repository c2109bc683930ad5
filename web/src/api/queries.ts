import {
  keepPreviousData,
  QueryClient,
  queryOptions,
  useInfiniteQuery,
  useQuery,
} from "@tanstack/react-query";
import { useMemo } from "react";
import { ApiError, type AuditPage, api, call, type Level, type Session, type SessionDetail } from "./client";
import type { components } from "./schema";

/** Makes the query client of the page. It retries temporary errors and reports others at once. */
export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 10_000,
        refetchOnWindowFocus: false,
        retry: (failures, error) =>
          failures < 3 &&
          error instanceof ApiError &&
          (error.code === "unreachable" || error.status >= 500 || error.status === 429),
        retryDelay: (failures) => Math.min(500 * 2 ** failures, 4000),
      },
    },
  });
}

/** The keys of the query cache. Every key of a session's data begins with the session's key. */
export const keys = {
  sessions: (search: SessionSearch) => ["sessions", search] as const,
  /** The findings of all sessions. */
  findings: ["findings"] as const,
  rules: ["rules"] as const,
  apiKeys: ["keys"] as const,
  agents: ["agents"] as const,
  signIns: ["sign-ins"] as const,
  audit: (search: AuditSearch) => ["audit", search] as const,
  rule: (ruleId: string) => ["rules", ruleId] as const,
  session: (sessionId: string) => ["session", sessionId] as const,
  /** The session as the stream sent it last. */
  streamed: (sessionId: string) => ["session", sessionId, "streamed"] as const,
  of: (sessionId: string, what: string, ...rest: unknown[]) => ["session", sessionId, what, ...rest] as const,
};

/** The search of the list of sessions; an empty search selects all. */
export interface SessionSearch {
  q?: string;
  state?: Session["state"];
  tag?: string;
  sha256?: string;
  keep?: true;
  /** The lowest level of a finding that a session must have. */
  level?: Level;
  /** The newest first, unless those with the most severe findings are. */
  sort?: "findings";
}

/** The sessions, a page at a time. */
export function useSessions(search: SessionSearch) {
  return useInfiniteQuery({
    queryKey: keys.sessions(search),
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      call(
        api.GET("/api/sessions", { params: { query: { ...search, limit: 100, cursor: pageParam } }, signal }),
      ),
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
}

/** What retention removed, newest first. */
export function useExpirations() {
  return useQuery({
    queryKey: ["expirations"],
    queryFn: ({ signal }) => call(api.GET("/api/expirations", { signal })),
    refetchInterval: 60_000,
  });
}

/** A session with its counts and completeness. */
export function sessionQuery(sessionId: string) {
  return queryOptions({
    queryKey: keys.session(sessionId),
    queryFn: async ({ signal, client }): Promise<SessionDetail> => {
      const began = Date.now();
      const details = await call(
        api.GET("/api/sessions/{sessionId}", { params: { path: { sessionId } }, signal }),
      );
      // What the stream sent during the request is newer than the answer.
      const streamed = client.getQueryState<Session>(keys.streamed(sessionId));
      return streamed?.data && streamed.dataUpdatedAt >= began ? { ...details, ...streamed.data } : details;
    },
  });
}

/**
 * The same query, repeated every few seconds while events may come or the backfill runs.
 * A session that has ended changes rarely, and the stream announces most changes.
 */
export function useSession(sessionId: string) {
  return useQuery({
    ...sessionQuery(sessionId),
    refetchInterval: ({ state: { data } }) =>
      isLive(data) || data?.backfill ? 3000 : data?.state === "ended" ? 60_000 : 15_000,
  });
}

/** The findings of all sessions of a level and above, the most severe and newest first, a page at a time. */
export function useAllFindings(level: Level | undefined) {
  return useInfiniteQuery({
    queryKey: [...keys.findings, level],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      call(api.GET("/api/findings", { params: { query: { level, limit: 100, cursor: pageParam } }, signal })),
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
}

/** All detection rules. Files and other users may change them at any time. */
export function useRules() {
  return useQuery({
    queryKey: keys.rules,
    queryFn: async ({ signal }) => (await call(api.GET("/api/rules", { signal }))).rules,
    refetchInterval: 30_000,
  });
}

/** A detection rule with its text. */
export function useRule(ruleId: string) {
  return useQuery({
    queryKey: keys.rule(ruleId),
    queryFn: ({ signal }) => call(api.GET("/api/rules/{ruleId}", { params: { path: { ruleId } }, signal })),
  });
}

/** All keys of the API, newest first. */
export function useKeys() {
  return useQuery({
    queryKey: keys.apiKeys,
    queryFn: async ({ signal }) => (await call(api.GET("/api/keys", { signal }))).keys,
    refetchInterval: 30_000,
  });
}

/** The sign-ins of people at the provider, newest first. */
export function useSignIns() {
  return useQuery({
    queryKey: keys.signIns,
    queryFn: async ({ signal }) => (await call(api.GET("/api/sign-ins", { signal }))).sign_ins,
    refetchInterval: 30_000,
  });
}

/** The search of the audit; an empty search selects all. */
export interface AuditSearch {
  actor?: string;
  action?: string;
  session?: string;
}

/** What actors did, newest first, a page at a time. */
export function useAudit(search: AuditSearch) {
  return useInfiniteQuery({
    queryKey: keys.audit(search),
    initialPageParam: undefined as number | undefined,
    // The other type of the answer is the download.
    queryFn: async ({ pageParam, signal }) =>
      (await call(
        api.GET("/api/audit", { params: { query: { ...search, before: pageParam } }, signal }),
      )) as AuditPage,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });
}

export type Agent = components["schemas"]["ListedAgent"];

/** All agents. They send a heartbeat every few seconds. */
export function useAgents() {
  return useQuery({
    queryKey: keys.agents,
    queryFn: ({ signal }) => call(api.GET("/api/agents", { signal })),
    refetchInterval: 5000,
  });
}

/** The agents for which sessions can be made, the backend's own first. Empty while they load. */
export function useStartableAgents(): Agent[] {
  const { data } = useAgents();
  return useMemo(
    () =>
      (data?.agents ?? [])
        .filter((agent) => agent.is_startable)
        .sort((a, b) => Number(b.id === "default") - Number(a.id === "default")),
    [data],
  );
}

/** What a start at the agent may ask for: null if the agent reports nothing, undefined while it loads. */
export function useStartOptions(agentId: string) {
  const { data: agents } = useAgents();
  return agents && (agents.agents.find((agent) => agent.id === agentId)?.start_options ?? null);
}

/** Whether events may come. They may come to the session unassigned at any time. */
export function isLive(session: Pick<SessionDetail, "state" | "id"> | undefined): boolean {
  return session?.state === "active" || session?.state === "starting" || session?.id === "unassigned";
}
