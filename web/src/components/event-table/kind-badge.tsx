import { kindOf } from "@/lib/kind";

/** A letter in the color of the event's kind. The name of the type must be beside it. */
export function KindBadge({ type }: { type: string }) {
  const { letter, text } = kindOf(type);
  return (
    <span
      aria-hidden
      className={`grid size-4 shrink-0 place-items-center rounded-xs bg-current/15 font-mono text-2xs leading-none font-semibold ${text}`}
    >
      {letter}
    </span>
  );
}
