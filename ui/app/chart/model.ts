import type { Line } from "../api/decode";
import { seriesText } from "../api/decode";
import type { Labels } from "../api/types";
import { unitOf, type Unit } from "../format/value";

/** Past this many series a graph shows the largest only. */
export const crowdedAt = 50;
/** How many a crowded graph shows. */
export const shownWhenCrowded = 20;

/** A series of a chart, with what the legend says of it. */
export interface ChartSeries {
  /** Stays the same over reloads: expression index and series text. */
  key: string;
  labels: Labels;
  name: string;
  values: (number | null)[];
  unit: Unit;
  /** The letter of its expression, or empty where there is one only. */
  letter: string;
  stats: Stats;
}

export interface Stats {
  last: number | null;
  min: number | null;
  max: number | null;
  mean: number | null;
}

/** What a chart draws. */
export interface ChartModel {
  times: number[];
  /** The drawn range in seconds. */
  from: number;
  to: number;
  series: ChartSeries[];
  /** Labels that all series share, and that their names leave out. */
  common: Labels;
  /** The envelope of the series that are too many to draw. */
  rest: { count: number; min: (number | null)[]; max: (number | null)[] } | null;
}

/** One expression's part of a chart. */
export interface Part {
  index: number;
  letter: string;
  unit: Unit;
  lines: Line[];
}

/** Builds the model of one chart from the answers of its expressions, which share `times`. */
export function buildChart(times: number[], from: number, to: number, parts: Part[], showAll: boolean): ChartModel {
  const all: ChartSeries[] = parts.flatMap(({ index, letter, unit, lines }) =>
    lines.map(({ labels, values }) => ({
      key: `${index} ${seriesText(labels)}`,
      labels,
      name: "",
      values,
      // A series that kept its name kept its metric's unit, whatever else the expression holds.
      unit: unit || unitOf(labels["__name__"] ?? ""),
      letter,
      stats: statsOf(values),
    })),
  );
  const crowded = !showAll && all.length > crowdedAt;
  const series = crowded ? largest(all, shownWhenCrowded) : all;
  const common = nameAll(series);
  const chosen = new Set(series);
  return {
    times,
    from,
    to,
    series,
    common,
    rest: crowded ? envelope(all.filter((one) => !chosen.has(one)), times.length) : null,
  };
}

/** Last, least, greatest and mean of the samples that are there. */
export function statsOf(values: (number | null)[]): Stats {
  let last: number | null = null;
  let min: number | null = null;
  let max: number | null = null;
  let sum = 0;
  let count = 0;
  for (const value of values) {
    if (value === null) continue;
    last = value;
    min = min === null || value < min ? value : min;
    max = max === null || value > max ? value : max;
    sum += value;
    count++;
  }
  return { last, min, max, mean: count > 0 ? sum / count : null };
}

/** Running sums from the first series up; a gap adds nothing, and a step without any sample stays a gap. */
export function stack(columns: (number | null)[][]): (number | null)[][] {
  const length = columns[0]?.length ?? 0;
  const total: (number | null)[] = new Array(length).fill(null);
  return columns.map((column) => {
    for (let index = 0; index < length; index++) {
      const value = column[index];
      if (value !== null && value !== undefined) {
        total[index] = (total[index] ?? 0) + value;
      }
    }
    return total.slice();
  });
}

/** Names the series by what tells them apart, and returns the labels that all of them share. */
export function nameAll(series: ChartSeries[]): Labels {
  const first = series[0];
  if (!first) {
    return {};
  }
  const common: Labels = {};
  if (series.length > 1) {
    for (const [label, value] of Object.entries(first.labels)) {
      if (label !== "__name__" && series.every(({ labels }) => labels[label] === value)) {
        common[label] = value;
      }
    }
  }
  for (const one of series) {
    const own = Object.fromEntries(Object.entries(one.labels).filter(([label]) => !(label in common)));
    const text = seriesText(own);
    one.name = text === "{}" ? (one.letter ? `query ${one.letter}` : "value") : text;
  }
  return common;
}

/** The series with the greatest mean size, in the order in which they came. */
function largest(series: ChartSeries[], count: number): ChartSeries[] {
  const size = ({ stats }: ChartSeries) => Math.abs(stats.mean ?? 0);
  const kept = new Set([...series].sort((a, b) => size(b) - size(a)).slice(0, count));
  return series.filter((one) => kept.has(one));
}

function envelope(series: ChartSeries[], length: number): ChartModel["rest"] {
  const min: (number | null)[] = new Array(length).fill(null);
  const max: (number | null)[] = new Array(length).fill(null);
  for (const { values } of series) {
    for (let index = 0; index < length; index++) {
      const value = values[index];
      if (value === null || value === undefined) continue;
      const low = min[index];
      const high = max[index];
      min[index] = low === null || low === undefined || value < low ? value : low;
      max[index] = high === null || high === undefined || value > high ? value : high;
    }
  }
  return { count: series.length, min, max };
}
