import { Check } from "lucide-react";
import { DropdownMenu as Radix } from "radix-ui";
import type { ReactNode } from "react";

const panel =
  "z-50 min-w-44 max-w-80 max-h-[70vh] overflow-y-auto rounded-md border border-line bg-raised p-1 shadow-lg";
const row =
  "flex items-center gap-2 rounded px-2 py-1.5 text-sm outline-none select-none cursor-pointer data-highlighted:bg-hover data-disabled:cursor-not-allowed data-disabled:opacity-50";

/** A menu below its trigger. The trigger must be one button. */
export function Menu({
  trigger,
  children,
  align = "end",
}: {
  trigger: ReactNode;
  children: ReactNode;
  align?: "start" | "end";
}) {
  return (
    <Radix.Root>
      <Radix.Trigger asChild>{trigger}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content align={align} sideOffset={4} collisionPadding={8} className={panel}>
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

export function MenuItem({
  onSelect,
  disabled,
  danger,
  children,
}: {
  onSelect: () => void;
  disabled?: boolean;
  danger?: boolean;
  children: ReactNode;
}) {
  return (
    <Radix.Item className={`${row} ${danger ? "text-bad" : ""}`} disabled={disabled} onSelect={onSelect}>
      {children}
    </Radix.Item>
  );
}

/** A link in a menu, such as a download. */
export function MenuLink({
  href,
  download,
  children,
}: {
  href: string;
  download?: boolean;
  children: ReactNode;
}) {
  return (
    <Radix.Item className={row} asChild>
      <a href={href} download={download}>
        {children}
      </a>
    </Radix.Item>
  );
}

/** An item with a check mark. The menu stays open, because the reader may change several. */
export function MenuCheck({
  checked,
  onChange,
  children,
}: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  children: ReactNode;
}) {
  return (
    <Radix.CheckboxItem
      className={row}
      checked={checked}
      onCheckedChange={onChange}
      onSelect={(event) => event.preventDefault()}
    >
      <span className="grid size-4 place-items-center">
        <Radix.ItemIndicator>
          <Check size={14} />
        </Radix.ItemIndicator>
      </span>
      {children}
    </Radix.CheckboxItem>
  );
}

export function MenuLabel({ children }: { children: ReactNode }) {
  return (
    <Radix.Label className="px-2 pt-1.5 pb-1 text-2xs font-semibold tracking-wide text-muted uppercase">
      {children}
    </Radix.Label>
  );
}

export function MenuLine() {
  return <Radix.Separator className="my-1 h-px bg-line" />;
}
