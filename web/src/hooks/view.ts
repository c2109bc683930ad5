import { useMemo } from "react";
import { useSearchParams } from "wouter";
import { readView, type View, viewFilter, writeView } from "@/lib/view";

interface ViewState {
  view: View;
  /** The whole view as one filter, for lists, streams and exports. */
  filter: string;
  /** Changes parts of the view. It replaces the address; with push, it adds to the history. */
  change: (change: Partial<View>, options?: { push?: boolean }) => void;
}

/** The view in the address of the page. */
export function useView(): ViewState {
  const [params, setParams] = useSearchParams();
  return useMemo(() => {
    const view = readView(params);
    return {
      view,
      filter: viewFilter(view),
      change: (change, options) =>
        setParams((now) => writeView(now, { ...readView(now), ...change }), { replace: !options?.push }),
    };
  }, [params, setParams]);
}
