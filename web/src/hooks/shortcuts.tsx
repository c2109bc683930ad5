import {
  createContext,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from "react";

/** A key and its action, as the sheet of keys lists it. */
export interface Shortcut {
  key: string;
  /** What it does, in a few words. */
  label: string;
  group: string;
}

interface Entry extends Shortcut {
  run: () => void;
}

/** The active shortcuts. If several have the same key, the latest wins. */
class Registry {
  private entries: Entry[] = [];
  private listeners = new Set<() => void>();
  list: readonly Shortcut[] = [];

  add(entry: Entry): () => void {
    this.entries = [...this.entries, entry];
    this.changed();
    return () => {
      this.entries = this.entries.filter((other) => other !== entry);
      this.changed();
    };
  }

  run(key: string): boolean {
    const entry = this.entries.findLast((candidate) => candidate.key === key);
    entry?.run();
    return entry !== undefined;
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private changed() {
    this.list = this.entries;
    for (const listener of this.listeners) listener();
  }
}

const Context = createContext(new Registry());

export function ShortcutProvider({ children }: { children: ReactNode }) {
  const registry = useMemo(() => new Registry(), []);
  useEffect(() => {
    const handle = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(event.target))
        return;
      if (document.querySelector("[role=dialog][data-state=open], [role=menu][data-state=open]")) return;
      if (registry.run(event.key)) event.preventDefault();
    };
    document.addEventListener("keydown", handle);
    return () => document.removeEventListener("keydown", handle);
  }, [registry]);
  return <Context value={registry}>{children}</Context>;
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Binds a key, named as in KeyboardEvent.key, to an action while the component is mounted. */
export function useShortcut(key: string, label: string, group: string, run: () => void): void {
  const registry = useContext(Context);
  const latest = useRef(run);
  useEffect(() => {
    latest.current = run;
  });
  useEffect(
    () => registry.add({ key, label, group, run: () => latest.current() }),
    [registry, key, label, group],
  );
}

export function useShortcuts(): readonly Shortcut[] {
  const registry = useContext(Context);
  return useSyncExternalStore(registry.subscribe, () => registry.list);
}
