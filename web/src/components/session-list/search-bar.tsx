import { Search } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import type { SessionSearch } from "@/api/queries";
import { LevelSelect } from "@/components/findings/level-select";
import { Input, inputClass } from "@/components/ui/field";
import { useShortcut } from "@/hooks/shortcuts";
import { stateNames } from "@/lib/session";

// The option that is no state.
const kept = "keep";
/** Two in a row on a telephone. */
const selectLook = "min-w-0 max-sm:flex-1 max-sm:basis-[40%]";

interface Props {
  search: SessionSearch;
  onChange: (search: SessionSearch) => void;
}

/** Searches the sessions by text, hash, state and findings, and orders them. It waits for a pause in typing. */
export function SearchBar({ search, onChange }: Props) {
  const [text, setText] = useState(search.sha256 ?? search.q ?? "");
  const input = useRef<HTMLInputElement>(null);
  useShortcut("/", "Search", "Sessions", () => input.current?.focus());
  const latest = useRef({ search, onChange });
  useEffect(() => {
    latest.current = { search, onChange };
  });
  useEffect(() => {
    const timer = setTimeout(() => {
      const { search: now, onChange } = latest.current;
      const next = { ...now, ...searchOf(text) };
      if (next.q !== now.q || next.sha256 !== now.sha256) onChange(next);
    }, 200);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <search className="flex min-w-0 flex-1 basis-full flex-wrap gap-2 max-sm:order-last sm:basis-64">
      <span className="relative min-w-0 flex-1 basis-44 max-sm:basis-full">
        <Search size={14} className="pointer-events-none absolute top-2.5 left-2.5 text-muted" aria-hidden />
        <Input
          ref={input}
          type="search"
          aria-label="Search sessions"
          placeholder="Name, notes, file or SHA-256"
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="w-full pl-8"
        />
      </span>
      <select
        aria-label="State"
        value={search.keep ? kept : (search.state ?? "")}
        onChange={({ target: { value } }) =>
          onChange({
            ...search,
            keep: value === kept || undefined,
            state: value === kept ? undefined : ((value || undefined) as SessionSearch["state"]),
          })
        }
        className={`${inputClass} h-8 ${selectLook}`}
      >
        <option value="">Any state</option>
        {Object.entries(stateNames).map(([state, name]) => (
          <option key={state} value={state}>
            {name}
          </option>
        ))}
        <option value={kept}>Marked keep</option>
      </select>
      <LevelSelect
        label="Level of findings"
        any="Any findings"
        level={search.level}
        className={selectLook}
        onChange={(level) => onChange({ ...search, level })}
      />
      <select
        aria-label="Order"
        value={search.sort ?? ""}
        onChange={({ target: { value } }) =>
          onChange({ ...search, sort: value === "findings" ? value : undefined })
        }
        className={`${inputClass} h-8 ${selectLook}`}
      >
        <option value="">Newest first</option>
        <option value="findings">Most severe first</option>
      </select>
    </search>
  );
}

/** The search for a text: a long run of hex is the beginning of a hash, any other text is a query. */
export function searchOf(text: string): Pick<SessionSearch, "q" | "sha256"> {
  const wanted = text.trim();
  if (/^[0-9a-f]{12,64}$/i.test(wanted)) return { q: undefined, sha256: wanted.toLowerCase() };
  return { q: wanted || undefined, sha256: undefined };
}
