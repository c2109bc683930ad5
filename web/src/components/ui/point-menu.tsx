import { DropdownMenu as Radix } from "radix-ui";
import { type ReactNode, type RefObject, useEffect, useState } from "react";

export interface Point {
  x: number;
  y: number;
}

interface Props {
  /** The point on screen; undefined while the menu is closed. */
  at: Point | undefined;
  label: string;
  onClose: () => void;
  /** The element that gets the focus when the menu closes. */
  focusAfter: RefObject<HTMLElement | null>;
  children: ReactNode;
}

/** A menu at a point, for lists with too many rows for a menu in each. */
export function PointMenu({ at, label, onClose, focusAfter, children }: Props) {
  // The menu keeps its place while it closes.
  const [last, setLast] = useState<Point>({ x: 0, y: 0 });
  useEffect(() => {
    if (at) setLast(at);
  }, [at]);
  const { x, y } = at ?? last;
  return (
    <Radix.Root open={at !== undefined} onOpenChange={(open) => !open && onClose()}>
      <Radix.Trigger
        aria-hidden
        tabIndex={-1}
        className="pointer-events-none fixed size-0"
        style={{ left: x, top: y }}
      />
      <Radix.Portal>
        <Radix.Content
          align="start"
          sideOffset={2}
          collisionPadding={8}
          aria-label={label}
          onCloseAutoFocus={(event) => {
            event.preventDefault();
            focusAfter.current?.focus({ preventScroll: true });
          }}
          className="z-50 max-h-[70vh] max-w-96 min-w-48 overflow-y-auto rounded-md border border-line bg-raised p-1 shadow-lg"
        >
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
