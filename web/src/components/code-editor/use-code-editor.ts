import "./code-editor.css";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Compartment, EditorState, type Extension, Prec, Transaction } from "@codemirror/state";
import { EditorView, highlightSpecialChars, keymap } from "@codemirror/view";
import { useEffect, useRef } from "react";
import { plainText } from "@/lib/text";

interface CodeEditorProps {
  text: string;
  /** Changes when anything but typing in this editor changes the text. */
  revision: string | number;
  /** ARIA attributes of the field: its name, validity and description. */
  attributes: Record<string, string>;
  onChange?: (text: string) => void;
  /** The selection to begin with, if the editor takes the focus. */
  start?: { from: number; to: number };
}

/**
 * Makes an editor in the element of place. extensions is called once, and may read the latest
 * props at any time.
 */
export function useCodeEditor<Props extends CodeEditorProps>(
  props: Props,
  extensions: (latest: { readonly current: Props }) => Extension,
) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const latest = useRef(props);
  const { revision, attributes } = props;
  useEffect(() => {
    latest.current = props;
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: the extensions are those of the first call
  useEffect(() => {
    if (!place.current) return;
    const { start, text } = latest.current;
    const editor = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: text,
        selection: start && {
          anchor: Math.min(start.from, text.length),
          head: Math.min(start.to, text.length),
        },
        extensions: [extensions(latest), common(latest)],
      }),
    });
    view.current = editor;
    if (start) editor.focus();
    return () => editor.destroy();
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: typed text comes back as the prop text with a delay
  useEffect(() => {
    const { text } = latest.current;
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === text) return;
    editor.dispatch({
      changes: { from: 0, to: editor.state.doc.length, insert: text },
      selection: { anchor: text.length },
    });
  }, [revision]);

  const described = JSON.stringify(attributes);
  useEffect(() => {
    view.current?.dispatch({
      effects: fieldAttributes.reconfigure(EditorView.contentAttributes.of(JSON.parse(described))),
    });
  }, [described]);

  return { place, view };
}

const fieldAttributes = new Compartment();

function common(latest: { readonly current: CodeEditorProps }): Extension {
  return [
    EditorView.lineWrapping,
    history(),
    keymap.of([...historyKeymap, ...defaultKeymap]),
    hiddenCharacters,
    fieldAttributes.of([]),
    EditorView.updateListener.of((update) => {
      // Whether a person changed the text, and not useCodeEditor.
      const isTyped = update.transactions.some(
        (transaction) => transaction.annotation(Transaction.userEvent) !== undefined,
      );
      if (update.docChanged && isTyped) latest.current.onChange?.(update.state.doc.toString());
    }),
    Prec.lowest(EditorView.contentAttributes.of({ spellcheck: "false", autocapitalize: "off" })),
  ];
}

/** Draws characters that nobody sees as visible marks. */
const hiddenCharacters = highlightSpecialChars({
  specialChars: /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]|\u034f/gu,
  render: (code) => {
    const mark = document.createElement("span");
    mark.className = "hidden-character";
    mark.textContent = plainText(String.fromCodePoint(code));
    mark.title = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    return mark;
  },
});
