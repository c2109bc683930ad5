import { CornerDownLeft, X } from "lucide-react";
import { type ComponentType, type ReactNode, type Ref, useEffect, useId, useRef, useState } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { useSuggestionSource } from "./completion";
import type { FilterInputProps } from "./filter-editor";
import type { Draft } from "./use-draft";

/** The field of the filter, with its fault below. */
export function FilterField({
  sessionId,
  draft,
  before,
}: {
  sessionId: string;
  draft: Draft;
  before: ReactNode;
}) {
  const box = useRef<HTMLDivElement>(null);
  const problem = useId();
  const latest = useRef(draft);
  useEffect(() => {
    latest.current = draft;
  });
  const source = useSuggestionSource(sessionId);
  const attributes: Record<string, string> = {
    "aria-label": "Filter",
    ...(draft.fault ? { "aria-invalid": "true", "aria-describedby": problem } : {}),
  };
  const props: FilterInputProps = {
    text: draft.text,
    revision: draft.revision,
    fault: draft.fault,
    attributes,
    source,
    onChange: draft.type,
    onRun: () => draft.run(),
    onRestore: draft.restore,
    onWalk: draft.walk,
  };
  return (
    <div
      ref={box}
      role="group"
      className={`relative flex min-h-8 min-w-0 flex-1 items-start rounded-md border bg-page font-mono text-sm focus-within:outline-2 focus-within:outline-accent ${draft.fault ? "border-bad" : "border-line"}`}
      onBlur={() => {
        // Deferred, because the focus may move within the field. A switch to another window does not run the filter.
        setTimeout(() => {
          if (document.hasFocus() && !box.current?.contains(document.activeElement)) latest.current.run();
        });
      }}
    >
      {before}
      <Field {...props} />
      {draft.isNew ? (
        <Button
          look="ghost"
          size="small"
          className="mt-[3px] mr-0.5 h-6 shrink-0 font-sans text-accent"
          title="Run the filter (Enter)"
          onClick={() => draft.run()}
        >
          <CornerDownLeft size={13} aria-hidden /> Run
        </Button>
      ) : (
        draft.text !== "" && (
          <Button
            look="ghost"
            size="smallIcon"
            className="mt-[3px] mr-0.5 size-6! shrink-0 text-muted"
            aria-label="Clear the filter"
            title="Clear the filter"
            onClick={() => {
              draft.run("");
              focusIn(box.current);
            }}
          >
            <X size={14} />
          </Button>
        )
      )}
      <div role="status" id={problem} className="contents">
        {draft.fault && (
          <p className="pointer-events-none absolute top-full -left-px z-20 mt-1 max-w-full rounded-md border border-bad bg-bad-soft px-2 py-1 font-sans text-xs break-words text-bad shadow-lg">
            <SafeText text={`Column ${columnOf(draft)}: ${draft.fault.text}`} limit={500} />
          </p>
        )}
      </div>
    </div>
  );
}

function columnOf({ text, fault }: Draft): number {
  return [...text.slice(0, fault?.from ?? 0)].length + 1;
}

/** Focuses the plain field or the editor. */
export function focusIn(box: HTMLElement | null): void {
  box?.querySelector<HTMLElement>(".cm-content, textarea")?.focus();
}

interface Loaded {
  Editor: ComponentType<FilterInputProps & { start: Start }>;
  start: Start;
}
type Start = { from: number; to: number } | undefined;

/**
 * Shows a plain field until the editor is loaded. The editor takes over the text and the
 * cursor. If the editor cannot be loaded, the plain field stays.
 */
function Field(props: FilterInputProps) {
  const [loaded, setLoaded] = useState<Loaded>();
  const plain = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    let isGone = false;
    const timer = setTimeout(() => {
      import("./filter-editor").then(
        ({ default: Editor }) => {
          const field = plain.current;
          const hasFocus = field !== null && document.activeElement === field;
          const start = hasFocus ? { from: field.selectionStart, to: field.selectionEnd } : undefined;
          if (!isGone) setLoaded({ Editor, start });
        },
        () => {},
      );
    }, 300);
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, []);
  if (!loaded) return <PlainField {...props} ref={plain} />;
  return <loaded.Editor {...props} start={loaded.start} />;
}

function PlainField({ ref, ...props }: FilterInputProps & { ref: Ref<HTMLTextAreaElement> }) {
  return (
    <textarea
      ref={ref}
      rows={1}
      spellCheck={false}
      {...props.attributes}
      value={props.text}
      placeholder="Filter: type = …, process: curl, or a text"
      className="field-sizing-content max-h-[5.625rem] min-w-0 flex-1 resize-none bg-transparent py-[0.3125rem] leading-5 [overflow-wrap:anywhere] outline-none placeholder:truncate placeholder:text-muted"
      onChange={(event) => props.onChange(event.target.value)}
      onKeyDown={(event) => {
        if (event.key === "Enter") props.onRun();
        else if (event.key === "Escape") props.onRestore();
        else if (event.key === "ArrowUp" && props.onWalk(1)) event.preventDefault();
        else if (event.key === "ArrowDown" && props.onWalk(-1)) event.preventDefault();
        if (event.key === "Enter") event.preventDefault();
      }}
    />
  );
}
