import { Link2 } from "lucide-react";
import { useRef } from "react";
import { copyText } from "@/components/copy-button";
import { HiddenRoutine, RoutineButton } from "@/components/routine/routine-switch";
import { Button } from "@/components/ui/button";
import { useNotify } from "@/components/ui/toast";
import { useShortcut } from "@/hooks/shortcuts";
import { useView } from "@/hooks/view";
import { and } from "@/lib/filter";
import { ConditionChips } from "./condition-chips";
import { FilterField, focusIn } from "./filter-field";
import { FilterHelp } from "./filter-help";
import { FilterMenu } from "./filter-menu";
import { useDraft } from "./use-draft";
import { useFilters } from "./use-filters";
import { ViewChips } from "./view-chips";

/** The bar with the view's selection: filter, process and time span. */
export function FilterBar({ sessionId }: { sessionId: string }) {
  const { view, change } = useView();
  const filters = useFilters();
  const draft = useDraft(sessionId, filters);
  const notify = useNotify();
  const bar = useRef<HTMLDivElement>(null);
  const focus = () => focusIn(bar.current);
  useShortcut("/", "Write a filter", "Filter", focus);

  const share = async () => {
    try {
      await copyText(location.href);
      notify("The link to this view was copied");
    } catch {
      notify("This browser does not let the page copy. Copy the address from the address bar.", {
        bad: true,
      });
    }
  };

  return (
    <div
      ref={bar}
      role="search"
      className="flex min-w-0 flex-[1_1_22rem] flex-wrap items-start gap-x-1 gap-y-1.5"
    >
      <div className="flex min-w-0 flex-[1_1_18rem] items-start gap-0.5">
        <FilterField
          sessionId={sessionId}
          draft={draft}
          before={
            <FilterMenu
              filters={filters}
              draft={draft.text}
              onChoose={(filter) => {
                draft.run(filter);
                focus();
              }}
            />
          }
        />
        <FilterHelp
          onInsert={(example) => {
            draft.put(and(draft.text, example));
            // The popover returns the focus first.
            setTimeout(focus);
          }}
        />
        <Button
          look="ghost"
          size="icon"
          aria-label="Copy the link to this view"
          title="Copy the link to this view"
          onClick={() => void share()}
        >
          <Link2 size={16} />
        </Button>
        <RoutineButton />
      </div>
      <ConditionChips
        filter={view.filter}
        onChange={(filter) => change({ filter }, { push: true })}
        onEmpty={focus}
      />
      <HiddenRoutine sessionId={sessionId} />
      <ViewChips view={view} onChange={change} />
    </div>
  );
}
