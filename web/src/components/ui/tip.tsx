import { Tooltip } from "radix-ui";
import type { ReactNode } from "react";

/** Says more about what is under the pointer or has the focus. Never the only place of a fact. */
export function Tip({ text, children }: { text: ReactNode; children: ReactNode }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content
          sideOffset={4}
          collisionPadding={8}
          className="z-50 max-w-80 rounded-md border border-line bg-raised px-2 py-1 text-xs break-words text-ink shadow-lg"
        >
          {text}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}

export const TipProvider = ({ children }: { children: ReactNode }) => (
  <Tooltip.Provider delayDuration={400}>{children}</Tooltip.Provider>
);
