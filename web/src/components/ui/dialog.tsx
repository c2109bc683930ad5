import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { Button } from "./button";

interface Props {
  open: boolean;
  onClose: () => void;
  title: ReactNode;
  /** A sentence that explains the dialog; screen readers read it with the title. */
  description?: ReactNode;
  children: ReactNode;
  /** The buttons at the bottom. */
  footer?: ReactNode;
  wide?: boolean;
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

export function Dialog({ open, onClose, title, description, children, footer, wide }: Props) {
  return (
    <Radix.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-black/50" />
        <Radix.Content
          className={`fixed inset-x-2 top-[4vh] z-50 mx-auto flex max-h-[92vh] flex-col rounded-lg border border-line bg-raised shadow-xl ${wide ? "max-w-4xl" : "max-w-lg"}`}
          onOpenAutoFocus={focusFirst}
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
