import type { ComponentChildren } from "preact";
import { positionIn } from "../api/decode";
import { Icon } from "./icons";

type Tone = "bad" | "warn" | "info";
const words: Record<Tone, string> = { bad: "Error", warn: "Warning", info: "Note" };

/** A message with its weight as word and icon. */
export function Notice({ tone, children, testid }: { tone: Tone; children: ComponentChildren; testid?: string }) {
  return (
    <div class={`notice ${tone}`} role={tone === "bad" ? "alert" : "status"} data-testid={testid ?? `notice-${tone}`}>
      <Icon name={tone === "info" ? "info" : "firing"} size={16} />
      <div class="notice-text">
        <span class="sr-only">{words[tone]}: </span>
        {children}
      </div>
    </div>
  );
}

/** A message about an expression; where it names a position, the place is shown. */
export function ExpressionNotice({ tone, message, expression }: { tone: Tone; message: string; expression: string }) {
  const position = positionIn(message);
  const line = position ? expression.split("\n")[position.line - 1] : undefined;
  return (
    <Notice tone={tone} testid={tone === "bad" ? "query-error" : `query-${tone}`}>
      <span>{message}</span>
      {position && line !== undefined && line.trim() !== "" && (
        <pre class="pointer" aria-hidden="true">
          {line}
          {"\n"}
          {line.slice(0, position.column - 1).replace(/[^\t]/g, " ")}^
        </pre>
      )}
    </Notice>
  );
}
