import type { HistogramValue, Labels, QueryData } from "./types";

/** The steps of a range query, in seconds. */
export interface Grid {
  start: number;
  end: number;
  step: number;
}

/** One drawn series: its labels and a value or a gap at each step. */
export interface Line {
  labels: Labels;
  values: (number | null)[];
  /** Infinite samples, which cannot be drawn. */
  infinite: number;
}

/** The decoded answer of a range query. */
export interface Columns {
  times: number[];
  lines: Line[];
  /** Series that are native histograms: drawn as their sum, as Prometheus draws them. */
  histograms: number;
}

/** One row of a table. */
export interface Row {
  labels: Labels;
  text: string;
  /** For sorting; NaN where the value is not a number. */
  sort: number;
  /** Samples of a range selector, each with its time in seconds. */
  samples?: [number, string][];
}

/** A sample value of the API; its spellings of infinity differ from JavaScript's. */
export function parseSample(text: string): number {
  switch (text) {
    case "+Inf":
    case "Inf":
      return Infinity;
    case "-Inf":
      return -Infinity;
    default:
      return Number(text);
  }
}

/** The matrix on the grid that was asked for; a step without sample is a gap. */
export function toColumns(data: QueryData, grid: Grid): Columns {
  const length = Math.max(1, Math.floor((grid.end - grid.start) / grid.step + 1e-6) + 1);
  const times = Array.from({ length }, (_, index) => round(grid.start + index * grid.step));
  if (data.resultType === "scalar" || data.resultType === "string") {
    const value = parseSample(data.result[1]);
    return { times, lines: [{ labels: {}, values: times.map(() => value), infinite: 0 }], histograms: 0 };
  }
  let histograms = 0;
  const lines = data.result.map(({ metric, values, histograms: natives }) => {
    const column: (number | null)[] = new Array(length).fill(null);
    let infinite = 0;
    const put = (time: number, text: string) => {
      const index = Math.round((time - grid.start) / grid.step);
      const value = parseSample(text);
      if (index < 0 || index >= length || Number.isNaN(value)) return;
      if (Number.isFinite(value)) {
        column[index] = value;
      } else {
        infinite++;
      }
    };
    for (const [time, text] of values ?? []) put(time, text);
    if (natives && natives.length > 0) {
      histograms++;
      for (const [time, native] of natives) put(time, native.sum);
    }
    return { labels: metric, values: column, infinite };
  });
  return { times, lines, histograms };
}

/** The rows of an instant query. */
export function toRows(data: QueryData): Row[] {
  if (data.resultType === "scalar" || data.resultType === "string") {
    return [{ labels: {}, text: data.result[1], sort: parseSample(data.result[1]) }];
  }
  return data.result.map(({ metric, value, values, histogram, histograms }) => {
    if (value) {
      return { labels: metric, text: value[1], sort: parseSample(value[1]) };
    }
    if (histogram) {
      return { labels: metric, text: histogramText(histogram[1]), sort: parseSample(histogram[1].count) };
    }
    const samples: [number, string][] = [
      ...(values ?? []),
      ...(histograms ?? []).map(([time, native]): [number, string] => [time, histogramText(native)]),
    ].sort((a, b) => a[0] - b[0]);
    return { labels: metric, text: "", sort: NaN, samples };
  });
}

/** A series as PromQL writes it: `name{label="value", …}`. */
export function seriesText(labels: Labels): string {
  const name = labels["__name__"] ?? "";
  const plainName = /^[A-Za-z_:][\w:]*$/.test(name);
  const pairs = Object.entries(labels)
    .filter(([label]) => label !== "__name__")
    .map(([label, value]) => `${/^[A-Za-z_]\w*$/.test(label) ? label : quote(label)}=${quote(value)}`);
  if (name !== "" && !plainName) {
    pairs.unshift(quote(name));
  }
  const head = plainName ? name : "";
  return pairs.length > 0 || head === "" ? `${head}{${pairs.join(", ")}}` : head;
}

/** Where an error or annotation points: one-based line and column in the expression. */
export interface Position {
  line: number;
  column: number;
}

/**
 * The position that a message of the API names: `1:5: parse error: …` in errors, ` (1:5)` at the end of
 * warnings and infos.
 */
export function positionIn(message: string): Position | null {
  const found = /(?:^|[\s":])(\d+):(\d+): /.exec(message) ?? /\((\d+):(\d+)\)\s*$/.exec(message);
  return found ? { line: Number(found[1]), column: Number(found[2]) } : null;
}

function histogramText({ count, sum, buckets }: HistogramValue): string {
  const list = (buckets ?? []).map(([rule, low, high, n]) => {
    const open = rule === 1 || rule === 3 ? "[" : "(";
    const close = rule === 0 || rule === 3 ? "]" : ")";
    return `${open}${low}, ${high}${close}: ${n}`;
  });
  return `count ${count}, sum ${sum}${list.length > 0 ? `; ${list.join("; ")}` : ""}`;
}

function quote(text: string): string {
  return `"${text.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`))}"`;
}

// Floating-point steps would give 1.0000000001 s; the API's times have milliseconds.
function round(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
