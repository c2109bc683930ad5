import { type ReactNode, useId, useRef } from "react";
import { Group, Panel, Separator, usePanelRef } from "react-resizable-panels";
import { byId, focusIds, useFocusAfter } from "@/hooks/focus";
import { useIsNarrow } from "@/hooks/media";
import { readStored, writeStored } from "@/hooks/stored";

const storeName = "ospulse.detail.width";
const usual = 560;

/**
 * A view, and beside it a Pane with details, if there are any. The reader chooses the width of
 * the pane. On narrow screens the pane covers the page.
 */
export function Split({ children, pane }: { children: ReactNode; pane: ReactNode }) {
  const isNarrow = useIsNarrow();
  const group = useRef<HTMLDivElement>(null);
  const panel = usePanelRef();
  const id = useId();
  const width = useRef(Number(readStored(storeName)) || usual);
  const keep = (next: number) => writeStored(storeName, Math.round(next));
  return (
    <Group
      elementRef={group}
      // The library restricts touches to vertical panning, which would forbid to zoom the page.
      className="min-h-0 flex-1 touch-auto!"
      resizeTargetMinimumSize={{ coarse: 20, fine: 8 }}
      onLayoutChanged={({ [id]: percent = 0 }, { isUserInteraction }) => {
        if (isUserInteraction) keep((percent / 100) * (group.current?.clientWidth ?? 0));
      }}
    >
      <Panel className="flex touch-auto!">{children}</Panel>
      {pane &&
        (isNarrow ? (
          pane
        ) : (
          <>
            <Separator
              aria-label="Width of the details"
              className="relative z-20 -mx-1 w-2 hover:bg-accent/40"
              disableDoubleClick
              onDoubleClick={() => {
                panel.current?.resize(usual);
                keep(usual);
              }}
            />
            <Panel
              id={id}
              panelRef={panel}
              defaultSize={width.current}
              minSize={320}
              maxSize="70vw"
              groupResizeBehavior="preserve-pixel-size"
              className="touch-auto!"
            >
              {pane}
            </Panel>
          </>
        ))}
    </Group>
  );
}

/** Details for the pane of a Split. */
export function Pane({ label, children }: { label: string; children: ReactNode }) {
  const pane = useRef<HTMLElement>(null);
  // The list whose row the pane is about, or the view.
  useFocusAfter(pane, () => {
    const view = byId(focusIds.view);
    return (
      view?.querySelector<HTMLElement>("[role=grid] [role=row][tabindex='0'], [role=grid][tabindex='0']") ??
      view
    );
  });
  return (
    <aside
      ref={pane}
      aria-label={label}
      className="flex h-full flex-col border-l border-line bg-surface max-md:fixed max-md:inset-0 max-md:z-30"
    >
      {children}
    </aside>
  );
}
