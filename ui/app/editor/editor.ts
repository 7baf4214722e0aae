import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  closeCompletion,
  completionKeymap,
  completionStatus,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { lintKeymap } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";
import { styleNonce } from "../base";
import { CompletionSource } from "./source";

/** What the page gives to an editor that takes the place of a text field. */
export interface EditorSetup {
  parent: HTMLElement;
  text: string;
  selection: [number, number];
  focused: boolean;
  label: string;
  hint: string;
  onChange: (text: string) => void;
  onRun: () => void;
}

/** A running editor. */
export interface Editor {
  setText(text: string): void;
  focus(): void;
  destroy(): void;
}

const source = new CompletionSource();

const colors = HighlightStyle.define([
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.string, color: "var(--code-string)" },
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--code-keyword)" },
  { tag: [tags.function(tags.variableName), tags.standard(tags.variableName)], color: "var(--code-function)" },
  { tag: tags.labelName, color: "var(--code-label)" },
  { tag: tags.operator, color: "var(--code-operator)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  { tag: tags.invalid, color: "var(--bad)" },
]);

/** Starts an editor for one PromQL expression. Enter runs it, Shift-Enter starts a new line. */
export function createEditor(setup: EditorSetup): Editor {
  const promql = new PromQLExtension().setComplete({ remote: source }).activateLinter(true);
  const run = () => {
    setup.onRun();
    return true;
  };
  const view = new EditorView({
    parent: setup.parent,
    state: EditorState.create({
      doc: setup.text,
      selection: { anchor: setup.selection[0], head: setup.selection[1] },
      extensions: [
        EditorView.cspNonce.of(styleNonce()),
        history(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ maxRenderedOptions: 60, icons: true }),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": setup.label, "data-testid": "expression" }),
        placeholder(setup.hint),
        syntaxHighlighting(colors),
        promql.asExtension(),
        Prec.highest(
          keymap.of([
            { key: "Mod-Enter", run: (target) => closeCompletion(target) || run() },
            { key: "Enter", run: (target) => (completionStatus(target.state) === "active" ? acceptCompletion(target) : run()) },
            { key: "Shift-Enter", run: insertNewlineAndIndent },
            { key: "Tab", run: acceptCompletion },
          ]),
        ),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...lintKeymap, ...defaultKeymap]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) {
            setup.onChange(update.state.doc.toString());
          }
        }),
      ],
    }),
  });
  if (setup.focused) {
    view.focus();
  }
  return {
    setText(text) {
      if (text !== view.state.doc.toString()) {
        view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
      }
    },
    focus: () => view.focus(),
    destroy() {
      view.destroy();
      promql.destroy();
    },
  };
}
