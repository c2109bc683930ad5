import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError, api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { useView } from "@/hooks/view";
import { type Fault, faultOf } from "@/lib/filter-language";
import type { Filters } from "./use-filters";

const checkMillis = 250;

export interface Draft {
  text: string;
  revision: number;
  /** Whether the draft differs from the filter of the view. */
  isNew: boolean;
  /** The fault of the draft. An unfinished draft has one only after an attempt to run it. */
  fault: Fault | undefined;
  type: (text: string) => void;
  /** Replaces the text without running it. */
  put: (text: string) => void;
  /** Makes the draft the filter of the view, unless it has a fault. */
  run: (text?: string) => void;
  restore: () => void;
  walk: (step: 1 | -1) => boolean;
}

/** The filter while the reader writes it. The view keeps the last filter that was run. */
export function useDraft(sessionId: string, { recent, remember }: Filters): Draft {
  const { view, change } = useView();
  const queries = useQueryClient();
  const [draft, setDraft] = useState({ text: view.filter, revision: 0 });
  const [applied, setApplied] = useState(view.filter);
  const [attempted, setAttempted] = useState<string>();
  const walked = useRef<{ at: number; text: string }>(undefined);
  const newest = useRef(draft.text);

  const put = (text: string) => {
    newest.current = text;
    setDraft((now) => ({ text, revision: now.revision + 1 }));
  };
  // Something else changed the filter: a click on a value, or the browser's history.
  if (applied !== view.filter) {
    setApplied(view.filter);
    setDraft((now) => ({ text: view.filter, revision: now.revision + 1 }));
  }
  useEffect(() => {
    newest.current = view.filter;
  }, [view.filter]);

  const check = (text: string) => ({
    queryKey: keys.of(sessionId, "check", text),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
    queryFn: ({ signal }: { signal: AbortSignal }) => findFault(sessionId, text, signal),
  });
  const settled = useSettled(draft.text);
  const checked = useQuery({ ...check(settled), enabled: settled !== "" });
  const fault = settled === draft.text && settled !== "" ? (checked.data ?? undefined) : undefined;

  return {
    text: draft.text,
    revision: draft.revision,
    isNew: draft.text !== view.filter,
    fault: fault && (!fault.isUnfinished || attempted === draft.text) ? fault : undefined,
    type: (text) => {
      walked.current = undefined;
      newest.current = text;
      setDraft((now) => ({ ...now, text }));
    },
    put,
    run: async (given) => {
      const text = given ?? newest.current;
      if (given !== undefined) put(given);
      setAttempted(text);
      if (text === view.filter) return;
      const found = text.trim() === "" ? null : await queries.fetchQuery(check(text)).catch(() => null);
      if (found || newest.current !== text) return;
      remember(text);
      change({ filter: text }, { push: true });
    },
    restore: () => {
      setAttempted(undefined);
      put(view.filter);
    },
    walk: (step) => {
      const isWalking = walked.current !== undefined && walked.current.text === newest.current;
      if (newest.current !== "" && !isWalking) return false;
      const at = (isWalking ? (walked.current?.at ?? -1) : -1) + step;
      if (at >= recent.length || at < -1) return false;
      const text = recent[at] ?? "";
      put(text);
      walked.current = { at, text };
      return true;
    },
  };
}

/** Lets the backend check a filter. It reads no events, because none follow the largest seq. */
async function findFault(sessionId: string, filter: string, signal: AbortSignal): Promise<Fault | null> {
  try {
    await call(
      api.GET("/api/sessions/{sessionId}/events", {
        params: { path: { sessionId }, query: { after: Number.MAX_SAFE_INTEGER, limit: 1, filter } },
        signal,
      }),
    );
    return null;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 400) throw error;
    return faultOf(error.message, filter) ?? { from: 0, to: 0, text: error.message, isUnfinished: false };
  }
}

/** The text, once it has not changed for a moment. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), checkMillis);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}
