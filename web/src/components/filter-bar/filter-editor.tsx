import "./filter-editor.css";
import {
  acceptCompletion,
  autocompletion,
  type CompletionContext,
  startCompletion,
} from "@codemirror/autocomplete";
import { Compartment, EditorState } from "@codemirror/state";
import { Decoration, EditorView, keymap, placeholder, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import { useEffect } from "react";
import { useCodeEditor } from "@/components/code-editor/use-code-editor";
import { type Fault, tokenize } from "@/lib/filter-language";
import { type SuggestionSource, suggest } from "./completion";

export interface FilterInputProps {
  text: string;
  /** Increases when anything but typing in this editor changes the text. */
  revision: number;
  fault: Fault | undefined;
  /** ARIA attributes of the field: its name, validity and description. */
  attributes: Record<string, string>;
  onChange: (text: string) => void;
  onRun: () => void;
  onRestore: () => void;
  /** Recalls an older (1) or newer (-1) filter; returns false if there is none. */
  onWalk: (step: 1 | -1) => boolean;
  source: SuggestionSource;
}

interface Props extends FilterInputProps {
  /** The cursor position of the plain field, if it had the focus. */
  start: { from: number; to: number } | undefined;
}

/** The editor of the filter, whose one line wraps. It is loaded when the page is idle. */
export default function FilterEditor(props: Props) {
  const { place, view } = useCodeEditor(props, extensions);
  const { fault } = props;
  useEffect(() => {
    view.current?.dispatch({ effects: marks.reconfigure(faultMark(fault)) });
  }, [fault, view]);

  return <div ref={place} className="filter-editor min-w-0 flex-1 overflow-hidden" />;
}

const marks = new Compartment();

function extensions(latest: { readonly current: Props }) {
  const run = (act: (props: Props) => unknown) => () => act(latest.current) !== false;
  const walk = (step: 1 | -1) => () => latest.current.onWalk(step);
  return [
    // No text contains this separator, so line breaks stay in the one line as marks.
    EditorState.lineSeparator.of("\u{10fffe}\u{10fffe}"),
    autocompletion({
      override: [(context) => complete(context, latest.current.source)],
      icons: false,
      closeOnBlur: true,
      activateOnCompletion: (completion) => completion.type !== "value",
    }),
    keymap.of([
      { key: "Tab", run: acceptCompletion },
      { key: "Enter", run: run((props) => props.onRun()) },
      { key: "Escape", run: run((props) => props.onRestore()) },
      { key: "ArrowUp", run: walk(1) },
      { key: "ArrowDown", run: walk(-1) },
      { key: "Alt-ArrowDown", run: startCompletion },
    ]),
    placeholder("Filter: type = …, process: curl, or a text"),
    colors,
    marks.of([]),
  ];
}

async function complete(context: CompletionContext, source: SuggestionSource) {
  const text = context.state.doc.toString();
  const found = await suggest(text, context.pos, source);
  if (!found || context.aborted) return null;
  const typed = text.slice(found.from, context.pos);
  // Do not open between two conditions or in an empty filter, unless the reader asks.
  if (!context.explicit && typed === "" && found.items[0]?.kind === "joint") return null;
  if (!context.explicit && text === "") return null;
  if (found.items.length === 1 && found.items[0]?.insert.trim() === typed) return null;
  return {
    from: found.from,
    filter: false,
    options: found.items.map((item) => ({
      label: item.insert,
      displayLabel: item.label,
      detail: item.detail,
      type: item.kind,
      apply: item.insert,
    })),
  };
}

const colors = ViewPlugin.fromClass(
  class {
    decorations;
    constructor(view: EditorView) {
      this.decorations = colorsOf(view);
    }
    update(update: ViewUpdate) {
      if (update.docChanged) this.decorations = colorsOf(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

function colorsOf(view: EditorView) {
  return Decoration.set(
    tokenize(view.state.doc.toString()).map((token) =>
      Decoration.mark({ class: `filter-${token.kind}` }).range(token.from, token.to),
    ),
  );
}

/** Underlines a fault; one at the end marks the last character. */
function faultMark(fault: Fault | undefined) {
  if (!fault) return [];
  return EditorView.decorations.of((view) => {
    const to = Math.min(Math.max(fault.to, fault.from), view.state.doc.length);
    const from = fault.from < to ? fault.from : to - 1;
    if (from < 0) return Decoration.none;
    return Decoration.set(Decoration.mark({ class: "filter-fault" }).range(from, to));
  });
}
