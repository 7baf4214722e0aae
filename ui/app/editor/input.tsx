import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Editor } from "./editor";

/** The editor's code, once it is here; until then, and where it never comes, a text field does the work. */
const module = signal<typeof import("./editor") | null>(null);
let asked = false;

/** Fetches the editor's code; called once the first data is drawn, so that it delays nothing. */
export function loadEditor(): void {
  if (asked) return;
  asked = true;
  import("./editor").then(
    (code) => (module.value = code),
    () => {
      // Tried again with the next answer.
      asked = false;
    },
  );
}

interface Props {
  text: string;
  /** Grows when `text` comes from elsewhere than this field. A field that is typed into is ahead of `text`. */
  revision: number;
  label: string;
  hint: string;
  autofocus: boolean;
  invalid: boolean;
  onChange: (text: string) => void;
  onRun: () => void;
}

/** The field for one expression. */
export function ExpressionInput(props: Props) {
  const { text, revision, label, hint, autofocus, invalid } = props;
  const area = useRef<HTMLTextAreaElement>(null);
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const code = module.value;

  useLayoutEffect(() => {
    if (!code || !host.current) return;
    const field = area.current;
    const focused = field !== null && document.activeElement === field;
    const now = field?.value ?? latest.current.text;
    editor.current = code.createEditor({
      parent: host.current,
      text: now,
      selection: field ? [field.selectionStart, field.selectionEnd] : [now.length, now.length],
      focused: focused || (autofocus && field === null),
      label,
      hint,
      onChange: (changed) => latest.current.onChange(changed),
      onRun: () => latest.current.onRun(),
    });
    if (field) field.hidden = true;
    return () => {
      editor.current?.destroy();
      editor.current = null;
    };
  }, [code]);

  useEffect(() => {
    editor.current?.setText(latest.current.text);
  }, [revision]);

  useEffect(() => {
    const field = area.current;
    if (field && !code) {
      field.style.height = "auto";
      field.style.height = `${field.scrollHeight}px`;
    }
  }, [text, code]);

  useEffect(() => {
    if (autofocus && !code) area.current?.focus();
  }, []);

  return (
    <div class={invalid ? "expression invalid" : "expression"}>
      <div ref={host} class="editor-host" />
      <textarea
        ref={area}
        rows={1}
        value={text}
        placeholder={hint}
        aria-label={label}
        aria-invalid={invalid}
        data-testid={code ? undefined : "expression"}
        spellcheck={false}
        autocapitalize="off"
        autocomplete="off"
        onInput={(event) => props.onChange(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            props.onRun();
          }
        }}
      />
    </div>
  );
}
