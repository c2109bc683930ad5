import { type Shortcut, useShortcuts } from "@/hooks/shortcuts";
import { groupBy } from "@/lib/group";
import { Dialog } from "./ui/dialog";

/** The sheet of active keys. */
export function ShortcutSheet(props: { open: boolean; onClose: () => void }) {
  const groups = groupBy(uniqueByKey(useShortcuts()), (shortcut) => shortcut.group);
  return (
    <Dialog {...props} title="Keyboard shortcuts">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: on phones the arrow keys scroll it */}
      <div tabIndex={0} className="grid gap-4 sm:grid-cols-2">
        {[...groups].map(([group, entries]) => (
          <section key={group}>
            <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">{group}</h3>
            <dl className="grid grid-cols-[auto_1fr] items-center gap-x-3 gap-y-1">
              {entries.map((entry) => (
                <div key={entry.key} className="contents">
                  <dt>
                    <kbd className="inline-block min-w-6 rounded border border-line bg-sunken px-1.5 text-center font-mono text-xs">
                      {keyName(entry.key)}
                    </kbd>
                  </dt>
                  <dd>{entry.label}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}

function uniqueByKey(shortcuts: readonly Shortcut[]): Shortcut[] {
  return [...new Map(shortcuts.map((shortcut) => [shortcut.key, shortcut])).values()];
}

function keyName(key: string): string {
  return { Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" }[key] ?? key;
}
