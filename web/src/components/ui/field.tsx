import type { ComponentProps, ReactNode } from "react";

export const inputClass =
  "rounded-md border border-line-strong bg-page px-2 py-1 text-sm placeholder:text-muted aria-invalid:border-bad";

export function Input({ className = "", ...rest }: ComponentProps<"input">) {
  return <input className={`${inputClass} h-8 ${className}`} {...rest} />;
}

/** A labeled control: the label above it, a hint below it. */
export function Field({
  label,
  hint,
  children,
}: {
  label: ReactNode;
  hint?: ReactNode;
  children: ReactNode;
}) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child
    <label className="flex flex-col gap-1">
      <span className="text-xs font-medium">{label}</span>
      {children}
      {hint && <span className="text-xs text-muted">{hint}</span>}
    </label>
  );
}
