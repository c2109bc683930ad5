import { useSyncExternalStore } from "react";

const narrow = "(max-width: 767px)";

/** Whether the window is so narrow that panes become sheets and tables hide their lesser columns. */
export function useIsNarrow(): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = matchMedia(narrow);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => matchMedia(narrow).matches,
  );
}
