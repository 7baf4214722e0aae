import { useState } from "preact/hooks";
import { seriesText, type Row } from "../api/decode";
import { formatTime } from "../format/time";
import { Notice } from "../parts/notice";
import type { Answers } from "../state/answers";
import { zone } from "../state/settings";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/** A table shows no more rows at first; a browser lays out thousands of rows slowly. */
const pageRows = 500;
/** Samples shown of one series of a range selector. */
const shownSamples = 200;

/** The answers at the end of the range, one row for each series. */
export function TableView({ answers }: { answers: Answers }) {
  if (!answers.ready) {
    return <div class="chart-wait" aria-hidden="true" />;
  }
  const several = answers.list.filter(({ expression }) => expression.trim() !== "").length > 1;
  return (
    <>
      <p class="muted at">at {formatTime(answers.grid.end * 1000, zone.value)}</p>
      {answers.list.map(({ rows }, index) =>
        rows ? <Rows key={index} rows={rows} letter={several ? letters[index]! : ""} /> : null,
      )}
    </>
  );
}

type Sort = "none" | "up" | "down";

function Rows({ rows, letter }: { rows: Row[]; letter: string }) {
  const [limit, setLimit] = useState(pageRows);
  const [sort, setSort] = useState<Sort>("none");
  if (rows.length === 0) {
    return (
      <Notice tone="info" testid="no-data">
        {letter && `${letter}: `}No series match at this time.
      </Notice>
    );
  }
  const sorted = sort === "none" ? rows : [...rows].sort((a, b) => compare(a.sort, b.sort) * (sort === "up" ? 1 : -1));
  const next: Sort = sort === "none" ? "down" : sort === "down" ? "up" : "none";
  return (
    <table class="rows" data-testid="table">
      <thead>
        <tr>
          <th scope="col">
            {letter && <span class="letter">{letter}</span>} {rows.length.toLocaleString("en")} series
          </th>
          <th scope="col" class="num" aria-sort={sort === "none" ? undefined : sort === "up" ? "ascending" : "descending"}>
            <button type="button" class="sort" onClick={() => setSort(next)}>
              Value{sort === "none" ? "" : sort === "up" ? " ↑" : " ↓"}
            </button>
          </th>
        </tr>
      </thead>
      <tbody>
        {sorted.slice(0, limit).map((row) => (
          <tr key={seriesText(row.labels)}>
            <td class="series">
              <SeriesName row={row} />
            </td>
            <td class="num value">{row.samples ? <Samples samples={row.samples} /> : row.text}</td>
          </tr>
        ))}
      </tbody>
      {rows.length > limit && (
        <tfoot>
          <tr>
            <td colSpan={2}>
              {limit.toLocaleString("en")} of {rows.length.toLocaleString("en")} are shown.{" "}
              <button type="button" class="link" onClick={() => setLimit((old) => old + 4 * pageRows)}>
                Show more
              </button>
            </td>
          </tr>
        </tfoot>
      )}
    </table>
  );
}

function SeriesName({ row: { labels } }: { row: Row }) {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest);
  if (name === "" && pairs.length === 0) {
    return <span class="muted">{"{}"}</span>;
  }
  return (
    <code>
      <span class="metric">{name}</span>
      {pairs.length > 0 && (
        <>
          <span class="muted">{"{"}</span>
          {pairs.map(([label, value], index) => (
            <span key={label}>
              {index > 0 && <span class="muted">, </span>}
              <span class="label-name">{label}</span>
              <span class="muted">=</span>
              <span class="label-value">"{value}"</span>
            </span>
          ))}
          <span class="muted">{"}"}</span>
        </>
      )}
    </code>
  );
}

function Samples({ samples }: { samples: [number, string][] }) {
  const shown = samples.slice(-shownSamples);
  return (
    <div class="samples">
      {shown.length < samples.length && (
        <div class="muted">
          the last {shown.length} of {samples.length}
        </div>
      )}
      {shown.map(([time, text]) => (
        <div key={time}>
          {text} <span class="muted">@ {formatTime(time * 1000, zone.value)}</span>
        </div>
      ))}
    </div>
  );
}

function compare(a: number, b: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : -1;
  return Number.isNaN(b) ? 1 : a - b;
}
