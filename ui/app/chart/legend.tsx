import { useState } from "preact/hooks";
import { formatValue } from "../format/value";
import { seriesText } from "../api/decode";
import { LabelList } from "../parts/labels";
import { Swatch } from "./chart";
import type { ChartModel, Stats } from "./model";

type Column = keyof Stats;
const columns: Column[] = ["last", "min", "max", "mean"];

interface Props {
  model: ChartModel;
  dark: boolean;
  hidden: ReadonlySet<string>;
  onHidden: (hidden: ReadonlySet<string>) => void;
}

/** The series of a chart with their figures. A click shows one alone, with Ctrl or ⌘ it hides or shows it. */
export function Legend({ model, dark, hidden, onHidden }: Props) {
  const [sort, setSort] = useState<Column | null>(null);
  const rows = model.series.map((series, index) => ({ series, index }));
  if (sort) {
    rows.sort((a, b) => (b.series.stats[sort] ?? -Infinity) - (a.series.stats[sort] ?? -Infinity));
  }
  const lettered = model.series.some(({ letter }) => letter !== "");
  const pick = (key: string, toggle: boolean) => {
    const others = model.series.map((one) => one.key).filter((other) => other !== key);
    if (toggle) {
      const next = new Set(hidden);
      if (!next.delete(key)) next.add(key);
      onHidden(next);
    } else {
      const alone = !hidden.has(key) && others.every((other) => hidden.has(other));
      onHidden(new Set(alone ? [] : others));
    }
  };
  return (
    <div class="legend" data-testid="legend">
      {Object.keys(model.common).length > 0 && (
        <div class="legend-common">
          <span class="muted">all:</span> <LabelList labels={model.common} />
        </div>
      )}
      <table>
        <thead>
          <tr>
            <th scope="col">
              {model.series.length} series{hidden.size > 0 && model.series.some(({ key }) => hidden.has(key)) && (
                <button type="button" class="link" onClick={() => onHidden(new Set())}>
                  show all
                </button>
              )}
            </th>
            {columns.map((column) => (
              <th key={column} scope="col" class="num" aria-sort={sort === column ? "descending" : undefined}>
                <button type="button" class="sort" onClick={() => setSort(sort === column ? null : column)}>
                  {column}
                  {sort === column ? " ↓" : ""}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ series, index }) => (
            <tr key={series.key} class={hidden.has(series.key) ? "off" : undefined}>
              <td>
                <button
                  type="button"
                  class="legend-name"
                  aria-pressed={!hidden.has(series.key)}
                  title={`${seriesText(series.labels)}\nClick: this one alone. Ctrl-click: hide or show.`}
                  onClick={(event) => pick(series.key, event.ctrlKey || event.metaKey)}
                >
                  <Swatch index={index} dark={dark} />
                  {lettered && <span class="letter">{series.letter}</span>}
                  <span class="legend-text">{series.name}</span>
                </button>
              </td>
              {columns.map((column) => (
                <td key={column} class="num">
                  {formatValue(series.stats[column], series.unit)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
