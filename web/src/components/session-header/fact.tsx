import type { ReactNode } from "react";

/** One fact in the line below the title. On narrow screens the line scrolls, and important facts come first. */
export function Fact({
  label,
  isFirst,
  children,
}: {
  label: string;
  isFirst?: boolean;
  children: ReactNode;
}) {
  return (
    <div className={`flex items-center max-sm:shrink-0 sm:min-w-0 ${isFirst ? "max-sm:-order-1" : ""}`}>
      <dt className="sr-only">{label}</dt>
      <dd className="flex min-w-0 items-center">{children}</dd>
    </div>
  );
}
