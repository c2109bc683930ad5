import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { type ReactNode, useState } from "react";
import { byId } from "@/hooks/focus";
import { Button } from "./button";

interface Props {
  onClose: () => void;
  title: ReactNode;
  /** A sentence that explains the dialog; screen readers read it with the title. */
  description?: ReactNode;
  children: ReactNode;
  /** The buttons at the bottom. */
  footer?: ReactNode;
  wide?: boolean;
  /** Returns the element that gets the focus when the dialog closes, if that is not what had it before. */
  focusAfter?: () => HTMLElement | null;
}

/** Focuses what the dialog asks for, or its first answer, before ✕. */
function focusFirst(event: Event) {
  const dialog = event.currentTarget as HTMLElement;
  const first = ["input:checked", "input, textarea, select, button, a[href]"]
    .map((what) => dialog.querySelector<HTMLElement>(`:scope > :not(header) :is(${what}):not(:disabled)`))
    .find((element) => element !== null);
  if (!first) return;
  event.preventDefault();
  first.focus();
}

export function Dialog({ open, ...props }: Props & { open: boolean }) {
  return open && <OpenDialog {...props} />;
}

function OpenDialog({ onClose, title, description, children, footer, wide, focusAfter }: Props) {
  // Radix returns the focus only to a trigger of its own.
  const [opener] = useState(findOpener);
  const focusNext = (event: Event) => {
    event.preventDefault();
    // A row that was deleted in another dialog took its button along.
    const last = opener?.isConnected ? opener : document.querySelector<HTMLElement>("[role=dialog]");
    (focusAfter?.() ?? last)?.focus();
  };
  return (
    <Radix.Root open onOpenChange={(next) => !next && onClose()}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-black/50" />
        <Radix.Content
          className={`fixed inset-x-2 top-[4vh] z-50 mx-auto flex max-h-[92vh] flex-col rounded-lg border border-line bg-raised shadow-xl ${wide ? "max-w-4xl" : "max-w-lg"}`}
          onOpenAutoFocus={focusFirst}
          onCloseAutoFocus={focusNext}
          {...(description ? {} : { "aria-describedby": undefined })}
        >
          <header className="flex items-start gap-3 border-b border-line px-4 py-3">
            <div className="min-w-0 flex-1">
              <Radix.Title className="text-base font-semibold">{title}</Radix.Title>
              {description && (
                <Radix.Description className="mt-0.5 text-sm text-muted">{description}</Radix.Description>
              )}
            </div>
            <Radix.Close asChild>
              <Button look="ghost" size="smallIcon" aria-label="Close">
                <X size={16} />
              </Button>
            </Radix.Close>
          </header>
          <div className="min-h-0 flex-1 overflow-y-auto px-4 py-3">{children}</div>
          {footer && (
            <footer className="flex flex-wrap justify-end gap-2 border-t border-line px-4 py-3">
              {footer}
            </footer>
          )}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

/** The element that has the focus, or the button of the menu that has it. */
function findOpener(): HTMLElement | null {
  const { activeElement } = document;
  const menu = activeElement?.closest("[role=menu]");
  return menu ? byId(menu.getAttribute("aria-labelledby") ?? "") : (activeElement as HTMLElement | null);
}
