import { ChevronDown, History } from "lucide-react";
import { useState } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/confirm";
import { Menu, MenuItem, MenuLabel, MenuLine } from "@/components/ui/menu";
import { plural } from "@/lib/number";
import { SavedFilters } from "./saved-filters";
import type { Filters } from "./use-filters";

interface Props {
  filters: Filters;
  draft: string;
  onChoose: (filter: string) => void;
}

/** The recent and the saved filters. */
export function FilterMenu({ filters, draft, onChoose }: Props) {
  const { recent, saved, forgetRecent } = filters;
  const [isEditing, setEditing] = useState(false);
  const [isClearing, setClearing] = useState(false);
  return (
    <>
      <Menu
        align="start"
        trigger={
          <Button
            look="ghost"
            size="smallIcon"
            className="h-[1.875rem]! w-10! shrink-0 gap-0.5! rounded-r-none text-muted"
            aria-label="Recent and saved filters"
            title="Recent and saved filters"
          >
            <History size={14} />
            <ChevronDown size={11} />
          </Button>
        }
      >
        {saved.length > 0 && <MenuLabel>Saved</MenuLabel>}
        {saved.map((entry) => (
          <MenuItem key={entry.name} onSelect={() => onChoose(entry.filter)}>
            <SafeText text={entry.name} limit={80} className="truncate" />
          </MenuItem>
        ))}
        <MenuItem onSelect={() => setEditing(true)}>
          {draft.trim() === "" ? "Saved filters…" : "Save this filter…"}
        </MenuItem>
        <MenuLine />
        <MenuLabel>Recent</MenuLabel>
        {recent.length === 0 && (
          <p className="px-2 py-1.5 text-xs text-muted">Filters that you run appear here.</p>
        )}
        {recent.map((filter) => (
          <MenuItem key={filter} onSelect={() => onChoose(filter)}>
            <SafeText text={filter} limit={120} className="truncate font-mono text-xs" />
          </MenuItem>
        ))}
        {recent.length > 0 && (
          <>
            <MenuLine />
            <MenuItem onSelect={() => setClearing(true)}>Clear the recent filters</MenuItem>
          </>
        )}
      </Menu>
      {isClearing && (
        <Confirm
          title="Clear the recent filters?"
          action="Clear"
          onConfirm={() => {
            setClearing(false);
            forgetRecent();
          }}
          onClose={() => setClearing(false)}
        >
          This browser forgets the {plural(recent.length, "filter")} that you ran. Saved filters stay.
        </Confirm>
      )}
      {isEditing && (
        <SavedFilters filters={filters} draft={draft} onClose={() => setEditing(false)} onChoose={onChoose} />
      )}
    </>
  );
}
