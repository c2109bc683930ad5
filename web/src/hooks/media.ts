import { useSyncExternalStore } from "react";

/** Whether a media query holds, such as "(max-width: 767px)". */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = matchMedia(query);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
  );
}

/** Where panes become sheets and tables hide their lesser columns. */
export const useIsNarrow = () => useMedia("(max-width: 767px)");
