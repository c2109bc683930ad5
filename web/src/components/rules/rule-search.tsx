import { Search } from "lucide-react";
import { levels } from "@/components/findings/level";
import { Input, inputClass } from "@/components/ui/field";
import { byId } from "@/hooks/focus";
import { useShortcut } from "@/hooks/shortcuts";
import { type RuleSearch, ruleSources, ruleStates } from "./rules";

const kinds = { detection: "Detection", routine: "Routine" };
const levelNames = Object.fromEntries(levels.map((level) => [level, level]));
/** The field of the search, which gets the focus if no rule can have it. */
export const searchId = "rule-search";

interface Props {
  search: RuleSearch;
  onChange: (search: RuleSearch) => void;
}

/** Searches the rules by text, state, source, level and kind. */
export function RuleSearchBar({ search, onChange }: Props) {
  useShortcut("/", "Search", "Rules", () => byId(searchId)?.focus());
  const select = (name: keyof RuleSearch, label: string, all: string, options: Record<string, string>) => (
    <select
      aria-label={label}
      value={search[name] in options ? search[name] : ""}
      onChange={({ target: { value } }) => onChange({ ...search, [name]: value })}
      className={`${inputClass} h-8 min-w-0 max-sm:flex-1 max-sm:basis-[40%]`}
    >
      <option value="">{all}</option>
      {Object.entries(options).map(([value, name]) => (
        <option key={value} value={value}>
          {name}
        </option>
      ))}
    </select>
  );
  return (
    <search className="flex min-w-0 flex-1 basis-full flex-wrap gap-2 max-sm:order-last sm:basis-96">
      <span className="relative min-w-0 flex-1 basis-40 max-sm:basis-full">
        <Search size={14} className="pointer-events-none absolute top-2.5 left-2.5 text-muted" aria-hidden />
        <Input
          id={searchId}
          type="search"
          aria-label="Search rules"
          placeholder="Title, technique, tag, author or file"
          value={search.text}
          onChange={(event) => onChange({ ...search, text: event.target.value })}
          className="w-full pl-8"
        />
      </span>
      {select("state", "State", "Any state", ruleStates)}
      {select("source", "Source", "Any source", ruleSources)}
      {select("level", "Level", "Any level", levelNames)}
      {select("kind", "Kind", "Any kind", kinds)}
    </search>
  );
}
