import { useId } from "react";
import { useHotkeys, useHotkeysContext } from "react-hotkeys-hook";

export { HotkeysProvider as ShortcutProvider } from "react-hotkeys-hook";

/** A key and its action, as the sheet of keys lists it. */
export interface Shortcut {
  key: string;
  /** What it does, in a few words. */
  label: string;
  group: string;
}

/**
 * Binds a key, named as in KeyboardEvent.key, to an action while the component is mounted.
 * If several components bind a key, the latest one has it. A key that the focused control
 * has used, or that is typed into a field, is not handled.
 */
export function useShortcut(key: string, label: string, group: string, run: () => void): void {
  const id = useId();
  const latest = useHotkeysContext().hotkeys.findLast(({ metadata }) => metadata?.key === key);
  useHotkeys(key, run, {
    // The layout of the keyboard decides which keys need Shift, so key is compared below: it
    // tells "t" from "T", which the library does not.
    useKey: true,
    ignoreModifiers: true,
    splitKey: "&", // "+" is a key
    preventDefault: true,
    ignoreEventWhen: (event) =>
      event.key !== key ||
      event.defaultPrevented ||
      event.isComposing ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      latest?.metadata?.id !== id ||
      document.querySelector("[role=dialog][data-state=open], [role=menu][data-state=open]") !== null,
    metadata: { id, key, label, group },
  });
}

/** The active shortcuts, the latest last. */
export function useShortcuts(): readonly Shortcut[] {
  return useHotkeysContext().hotkeys.map(({ metadata }) => metadata as unknown as Shortcut);
}
