import { Popover } from "radix-ui";
import type { ReactNode } from "react";

interface Props {
  /** One button. */
  trigger: ReactNode;
  /** What it is, for screen readers. */
  label: string;
  align?: "start" | "end";
  className?: string;
  children: ReactNode;
  /** Given together when whoever uses it closes it too. */
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
}

/** A small panel below its trigger, with more about what that says. */
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
