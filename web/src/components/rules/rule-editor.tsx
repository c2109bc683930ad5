import "./rule-editor.css";
import {
  EditorState,
  type Range,
  RangeSetBuilder,
  StateEffect,
  StateField,
  type Text,
} from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  keymap,
  lineNumbers,
  ViewPlugin,
  type ViewUpdate,
  WidgetType,
} from "@codemirror/view";
import { useEffect } from "react";
import type { RuleFault } from "@/api/client";
import { useCodeEditor } from "@/components/code-editor/use-code-editor";
import { plainText } from "@/lib/text";
import { yamlTokens } from "@/lib/yaml-tokens";

interface Props {
  text: string;
  /** Changes when anything but typing in this editor changes the text. */
  revision: string;
  fault?: RuleFault;
  isReadOnly?: boolean;
  /** ARIA attributes of the field: its name, validity and description. */
  attributes: Record<string, string>;
  onChange?: (text: string) => void;
  /** Called by Ctrl+S and Ctrl+Enter, or ⌘. */
  onSave?: () => void;
  onTest?: () => void;
}

/** The editor of a rule's text. It shows a fault below its line. Tab leaves it. */
export function RuleEditor(props: Props) {
  const { place, view } = useCodeEditor(props, extensions);
  const { fault } = props;
  useEffect(() => {
    view.current?.dispatch({ effects: setFault.of(fault) });
  }, [fault, view]);

  return (
    <div
      ref={place}
      className="rule-editor min-h-0 flex-1 overflow-hidden rounded-md border border-line-strong bg-page focus-within:outline-2 focus-within:outline-accent"
    />
  );
}

function extensions(latest: { readonly current: Props }) {
  const run = (act: "onSave" | "onTest") => () => {
    latest.current[act]?.();
    return true; // the browser would save the page
  };
  const { isReadOnly = false } = latest.current;
  return [
    EditorState.readOnly.of(isReadOnly),
    EditorView.editable.of(!isReadOnly),
    isReadOnly ? EditorView.contentAttributes.of({ tabindex: "0" }) : [],
    lineNumbers(),
    keymap.of([
      { key: "Mod-s", run: run("onSave") },
      { key: "Mod-Enter", run: run("onTest") },
    ]),
    colors,
    faults,
  ];
}

const colors = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = colorsOf(view);
    }
    update(update: ViewUpdate) {
      if (update.docChanged || update.viewportChanged) this.decorations = colorsOf(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

/** The colors of the lines in sight. */
function colorsOf(view: EditorView): DecorationSet {
  const marks = new RangeSetBuilder<Decoration>();
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to; ) {
      const line = view.state.doc.lineAt(at);
      for (const token of yamlTokens(line.text))
        marks.add(
          line.from + token.from,
          line.from + token.to,
          Decoration.mark({ class: `yaml-${token.kind}` }),
        );
      at = line.to + 1;
    }
  }
  return marks.finish();
}

const setFault = StateEffect.define<RuleFault | undefined>();

/** The fault, which moves with its line. */
const faults = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update: (shown, transaction) =>
    transaction.effects.reduce(
      (set, effect) => (effect.is(setFault) ? faultMarks(transaction.state.doc, effect.value) : set),
      shown.map(transaction.changes),
    ),
  provide: (field) => EditorView.decorations.from(field),
});

function faultMarks(doc: Text, fault: RuleFault | undefined): DecorationSet {
  if (fault?.line === undefined) return Decoration.none;
  const line = doc.line(Math.min(fault.line, doc.lines));
  const before = [...line.text].slice(0, (fault.column ?? 1) - 1).join("").length;
  const marks: Range<Decoration>[] = [
    Decoration.line({ class: "rule-fault-line" }).range(line.from),
    Decoration.widget({ widget: new Reason(fault.reason), block: true, side: 1 }).range(line.to),
  ];
  const from = Math.min(line.from + before, Math.max(line.from, line.to - 1));
  if (from < line.to) marks.push(Decoration.mark({ class: "rule-fault" }).range(from, line.to));
  return Decoration.set(marks, true);
}

/** The reason of a fault, below its line. Screen readers get it as the description of the field. */
class Reason extends WidgetType {
  constructor(private readonly reason: string) {
    super();
  }
  override eq(other: Reason) {
    return other.reason === this.reason;
  }
  override toDOM() {
    const element = document.createElement("div");
    element.className = "rule-fault-reason";
    element.setAttribute("aria-hidden", "true");
    element.textContent = plainText(this.reason, 1000);
    return element;
  }
}
