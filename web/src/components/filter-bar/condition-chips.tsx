import { X } from "lucide-react";
import { useLayoutEffect, useRef } from "react";
import { SafeText } from "@/components/safe-text";
import { conditionsOf, withoutCondition } from "@/lib/filter-language";
import { plainText } from "@/lib/text";

interface Props {
  filter: string;
  /** Receives the filter without a removed condition. */
  onChange: (filter: string) => void;
  /** Moves the focus after the last condition was removed. */
  onEmpty: () => void;
}

/** The conditions that the filter joins by "and". Delete, Backspace or ✕ removes one. */
export function ConditionChips({ filter, onChange, onEmpty }: Props) {
  const list = useRef<HTMLUListElement>(null);
  const removed = useRef<number>(undefined);
  const conditions = conditionsOf(filter);
  const buttons = () => [...(list.current?.querySelectorAll("button") ?? [])];
  const remove = (index: number) => {
    removed.current = index;
    onChange(withoutCondition(filter, conditions, index));
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: only another filter has other conditions
  useLayoutEffect(() => {
    if (removed.current === undefined) return;
    // The next condition takes the place of the removed one.
    const next = buttons()[Math.min(removed.current, conditions.length - 1)];
    removed.current = undefined;
    if (next) next.focus();
    else onEmpty();
  }, [filter]);
  if (conditions.length === 0) return null;
  return (
    <ul
      ref={list}
      aria-label="Conditions"
      className="flex max-h-[6.5rem] min-w-0 flex-wrap gap-1 overflow-y-auto py-0.5 max-sm:flex-nowrap max-sm:overflow-x-auto"
    >
      {conditions.map(({ from, to }, index) => {
        const text = filter.slice(from, to);
        return (
          <li
            key={index}
            className="flex h-7 max-w-full shrink-0 items-center rounded-md border border-line bg-selected pl-2 sm:shrink"
          >
            <SafeText text={text} limit={200} className="max-w-96 min-w-0 truncate font-mono text-xs" />
            <button
              type="button"
              aria-label={`Remove ${plainText(text, 100)}`}
              title={plainText(text, 300)}
              onClick={() => remove(index)}
              onKeyDown={(event) => {
                const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
                if (event.key === "Delete" || event.key === "Backspace") remove(index);
                else if (by !== undefined) buttons()[index + by]?.focus();
                else return;
                event.preventDefault();
                event.stopPropagation();
              }}
              className="grid h-full w-6 shrink-0 place-items-center rounded-r-md text-muted hover:bg-hover hover:text-ink"
            >
              <X size={13} aria-hidden />
            </button>
          </li>
        );
      })}
    </ul>
  );
}
