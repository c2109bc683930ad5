import { cutText, showHidden } from "@/lib/text";

interface Props {
  text: string;
  /** The most UTF-16 units to draw; a 10 MB string would block the page. */
  limit?: number;
  className?: string;
}

/**
 * Text that a program under observation may have written. It is drawn as text, left to
 * right, with hidden characters as visible marks. All such text goes through here.
 */
export function SafeText({ text, limit = 1000, className = "" }: Props) {
  const cut = cutText(text, limit);
  return (
    <bdi dir="ltr" className={className}>
      {showHidden(cut.text).map((part, index) =>
        part.hidden ? (
          <span
            key={index}
            title={part.hidden}
            className="rounded-xs bg-warn-soft px-px text-warn"
            data-hidden={part.hidden}
          >
            {part.text}
          </span>
        ) : (
          part.text
        ),
      )}
      {cut.isCut && (
        <span className="text-muted" title={`${text.length} characters in all`}>
          …
        </span>
      )}
    </bdi>
  );
}
