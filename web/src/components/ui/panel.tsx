import { Popover } from "radix-ui";
import type { ReactNode } from "react";

interface Props {
  /** The button that opens the panel. */
  trigger: ReactNode;
  /** The name of the panel, for screen readers. */
  label: string;
  align?: "start" | "end";
  className?: string;
  children: ReactNode;
  /** Set open and onOpenChange together to control the panel. */
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
}

/** A small panel below its trigger, with details. */
export function Panel({
  trigger,
  label,
  align = "start",
  className = "w-96 p-3",
  children,
  ...state
}: Props) {
  return (
    <Popover.Root {...state}>
      <Popover.Trigger asChild>{trigger}</Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          align={align}
          sideOffset={4}
          collisionPadding={8}
          aria-label={label}
          className={`z-50 max-h-(--radix-popover-content-available-height) max-w-[calc(100vw-1rem)] overflow-y-auto rounded-md border border-line bg-raised shadow-lg ${className}`}
        >
          {children}
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
