import type { ComponentChildren } from "preact";

/** The title of a list page and its filters. */
export function ListHead({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="page-head">
      <h1>{title}</h1>
      {children}
    </div>
  );
}

interface Choice<T> {
  value: T;
  name: string;
  count: number;
}

/** One choice out of few, each with how many it leaves. */
export function Filter<T extends string>({
  label,
  value,
  choices,
  onChange,
}: {
  label: string;
  value: T;
  choices: Choice<T>[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="tabs" role="group" aria-label={label}>
      {choices.map((choice) => (
        <button
          key={choice.value}
          type="button"
          aria-pressed={choice.value === value}
          data-testid={`filter-${choice.value}`}
          onClick={() => onChange(choice.value)}
        >
          {choice.name} <span class="num">{choice.count}</span>
        </button>
      ))}
    </div>
  );
}

/** A field that narrows a list while it is typed into. */
export function Search({ value, hint, onChange }: { value: string; hint: string; onChange: (text: string) => void }) {
  return (
    <input
      class="input search"
      type="search"
      value={value}
      placeholder={hint}
      aria-label={`Search: ${hint}`}
      data-testid="search"
      spellcheck={false}
      onInput={(event) => onChange(event.currentTarget.value)}
    />
  );
}
