import type { ComponentProps } from "react";

const base =
  "inline-flex items-center justify-center gap-1.5 rounded-md border whitespace-nowrap select-none disabled:opacity-50 transition-colors";
const looks = {
  primary: "border-transparent bg-accent text-accent-ink hover:brightness-110",
  plain: "border-line bg-surface text-ink hover:bg-hover",
  ghost: "border-transparent bg-transparent text-ink hover:bg-hover",
  danger: "border-transparent bg-bad text-page hover:brightness-110",
};
const sizes = { small: "h-7 px-2 text-xs", normal: "h-8 px-3 text-sm", icon: "size-8", smallIcon: "size-7" };

interface Look {
  look?: keyof typeof looks;
  size?: keyof typeof sizes;
}

/** A button. A button with only an icon needs an aria-label. */
export function Button({
  look = "plain",
  size = "normal",
  className = "",
  type = "button",
  ...rest
}: ComponentProps<"button"> & Look) {
  return <button type={type} className={`${base} ${looks[look]} ${sizes[size]} ${className}`} {...rest} />;
}

/** The classes of a link that looks like a button. */
export function buttonClass({ look = "plain", size = "normal" }: Look = {}): string {
  return `${base} ${looks[look]} ${sizes[size]}`;
}
