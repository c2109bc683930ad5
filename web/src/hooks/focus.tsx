import {
  createContext,
  type ReactNode,
  type RefObject,
  useContext,
  useEffect,
  useLayoutEffect,
  useRef,
} from "react";

/** The elements that get the focus when what had it is gone. */
export const focusIds = {
  title: "session-title",
  view: "view",
  start: "start",
  upload: "upload",
  addAgent: "add-agent",
} as const;

type Find = () => HTMLElement | null | undefined;

export const byId = (id: string) => document.getElementById(id);

/** Focuses an element, if no other element has the focus. */
export function focusIfLost(find: Find): void {
  const { activeElement, body } = document;
  if (activeElement === null || activeElement === body) find()?.focus({ preventScroll: true });
}

/** Focuses another element when this one is removed while it has the focus. */
export function useFocusAfter(element: RefObject<HTMLElement | null>, find: Find): void {
  const latest = useRef(find);
  useLayoutEffect(() => {
    latest.current = find;
  });
  useLayoutEffect(() => {
    const shown = element.current;
    return () => {
      if (shown?.contains(document.activeElement)) latest.current()?.focus({ preventScroll: true });
    };
  }, [element]);
}

interface Arrivals {
  /** The page that was shown first was opened by the browser, which decides about the focus. */
  hasFirst: boolean;
  /** The session that was shown last. */
  sessionId?: string;
}
const Context = createContext<{ current: Arrivals } | undefined>(undefined);

export function ArrivalProvider({ children }: { children: ReactNode }) {
  const arrivals = useRef<Arrivals>({ hasFirst: false });
  return <Context value={arrivals}>{children}</Context>;
}

/**
 * Focuses an element of a page when the page is ready, if the reader came from another page
 * and the focus was lost with that. find gets the session that was shown before.
 */
export function useArrival(
  isReady: boolean,
  find: (before: string | undefined) => ReturnType<Find>,
  sessionId?: string,
): void {
  const arrivals = useContext(Context);
  const isDone = useRef(false);
  useEffect(() => {
    if (!isReady || isDone.current || !arrivals) return;
    isDone.current = true;
    const { hasFirst, sessionId: before } = arrivals.current;
    arrivals.current = { hasFirst: true, sessionId: sessionId ?? before };
    if (hasFirst) focusIfLost(() => find(before));
  });
}
