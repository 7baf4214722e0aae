import uPlot from "uplot";
import type { Zone } from "../format/time";
import { formatValue, type Unit } from "../format/value";
import { stack, type ChartModel } from "./model";
import { chartInk, fade, strokeOf } from "./palette";

/** How a model is to be drawn. */
export interface Look {
  width: number;
  height: number;
  dark: boolean;
  zone: Zone;
  stacked: boolean;
  /** Keys of hidden series. */
  hidden: ReadonlySet<string>;
  /** Axes and cursor only where there is room. */
  small: boolean;
}

/** Calls from the chart. */
export interface Events {
  zoom(from: number, to: number): void;
  cursor(index: number | null, left: number, top: number): void;
}

/** The columns as uPlot takes them; hidden series of a stack add nothing to it. */
export function chartData(model: ChartModel, look: Look): uPlot.AlignedData {
  let columns = model.series.map(({ values }) => values);
  if (look.stacked) {
    const empty: null[] = new Array(model.times.length).fill(null);
    columns = stack(model.series.map(({ key, values }) => (look.hidden.has(key) ? empty : values)));
  }
  const rest = model.rest && !look.stacked ? [model.rest.min, model.rest.max] : [];
  return [model.times, ...columns, ...rest];
}

/** What must stay the same for new data to go into an existing chart. */
export function signature(model: ChartModel, look: Look): string {
  const { dark, zone, stacked, small } = look;
  return JSON.stringify([
    model.series.map(({ key, unit }) => [key, unit]),
    model.rest !== null,
    dark,
    zone,
    stacked,
    stacked ? [...look.hidden] : 0,
    small,
  ]);
}

/** The options of a new chart. `range` is asked at every redraw, so that data may move on without a new chart. */
export function chartOptions(
  model: ChartModel,
  look: Look,
  range: () => [number, number],
  events: Events,
): uPlot.Options {
  const ink = chartInk(look.dark);
  const unit = oneUnit(model);
  // Lines that are not whole device pixels wide cost twice the time to draw.
  const width = Math.max(1, Math.round(devicePixelRatio)) / devicePixelRatio;
  const series: uPlot.Series[] = model.series.map(({ key }, index) => {
    const { color, dash } = strokeOf(index, look.dark);
    return {
      show: !look.hidden.has(key),
      stroke: color,
      width,
      dash,
      fill: look.stacked ? fade(color, 0.35) : look.small && model.series.length === 1 ? fade(color, 0.12) : undefined,
      spanGaps: false,
      points: { show: true, size: 4, fill: color, stroke: color, filter: lonely },
    };
  });
  const bands: uPlot.Band[] = [];
  if (look.stacked) {
    for (let index = series.length; index > 1; index--) {
      bands.push({ series: [index, index - 1] });
    }
  } else if (model.rest) {
    const hidden: uPlot.Series = { stroke: ink.rest, width, points: { show: false } };
    series.push(hidden, { ...hidden });
    bands.push({ series: [series.length, series.length - 1], fill: ink.rest });
  }
  const font = '11px system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
  const axis = { stroke: ink.text, font, grid: { stroke: ink.grid, width }, ticks: { show: false } };
  return {
    width: look.width,
    height: look.height,
    padding: look.small ? [6, 20, 0, 0] : [10, 20, 0, 0],
    legend: { show: false },
    cursor: {
      drag: { x: true, y: false, setScale: false },
      points: { size: 6 },
      y: false,
      focus: { prox: 24 },
    },
    focus: { alpha: model.series.length > 1 ? 0.35 : 1 },
    tzDate: (seconds) =>
      look.zone === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000),
    scales: {
      x: { time: true, range },
      y: { range: (_, min, max) => valueRange(min, max, look.stacked || look.small) },
    },
    axes: [
      { ...axis, space: look.small ? 70 : 80, size: look.small ? 20 : 36, gap: 4, values: look.small ? clockOnly : clockValues },
      {
        ...axis,
        space: look.small ? 32 : 36,
        gap: 6,
        incrs: unit.startsWith("bytes") ? powersOfTwo : undefined,
        values: (_, splits, __, ___, step) => splits.map((split) => formatValue(split, unit, digitsFor(splits, step))),
        size: (_, values) => 14 + 6.4 * Math.max(3, ...(values ?? []).map((text) => text.length)),
      },
    ],
    series: [{}, ...series],
    bands,
    hooks: {
      setSelect: [
        (chart) => {
          const { left, width: span } = chart.select;
          if (span > 4) {
            events.zoom(chart.posToVal(left, "x"), chart.posToVal(left + span, "x"));
          }
          if (span > 0) {
            chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }
        },
      ],
      setCursor: [
        (chart) => {
          const { idx, left = -1, top = -1 } = chart.cursor;
          events.cursor(left < 0 || idx === null || idx === undefined ? null : idx, left, top);
        },
      ],
    },
  };
}

/** The unit of the value axis: that of all series, or none where they differ. */
export function oneUnit(model: ChartModel): Unit {
  const units = new Set(model.series.map(({ unit }) => unit));
  return units.size === 1 ? [...units][0]! : "";
}

const second = 1;
const minute = 60;
const day = 86_400;

// Rows of uPlot's table: step, default, then what a new year, month, day, hour, minute or second adds; 24-hour clock.
const clockValues: uPlot.Axis["values"] = [
  [365 * day, "{YYYY}", null, null, null, null, null, null, 1],
  [28 * day, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [day, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [minute, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [second, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [0.001, "{HH}:{mm}:{ss}.{fff}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

// Small charts cover minutes; the date is beside nobody's question there.
const clockOnly: uPlot.Axis["values"] = [
  [minute, "{HH}:{mm}", null, null, null, null, null, null, 1],
  [second, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
];

const powersOfTwo = Array.from({ length: 70 }, (_, power) => 2 ** (power - 6));

function digitsFor(splits: number[], step: number): number {
  const greatest = Math.max(...splits.map((split) => Math.abs(split)), Number.MIN_VALUE);
  return Math.max(3, Math.min(12, Math.ceil(Math.log10(greatest / step)) + 1));
}

function valueRange(min: number | null, max: number | null, fromZero: boolean): [number, number] {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) {
    return [0, 1];
  }
  const low = fromZero ? Math.min(0, min) : min;
  const high = fromZero ? Math.max(0, max) : max;
  if (low === high) {
    const pad = Math.abs(low) * 0.2 || 1;
    return low >= 0 ? [Math.max(0, low - pad), high + pad] : [low - pad, high + pad];
  }
  const pad = (high - low) * 0.08;
  // Data that never goes below zero must not seem to.
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high <= 0 ? Math.min(0, high + pad) : high + pad];
}

// A sample with gaps on both sides has no line, so it needs a dot.
function lonely(chart: uPlot, seriesIndex: number): number[] {
  const values = chart.data[seriesIndex] ?? [];
  const found: number[] = [];
  for (let index = 0; index < values.length; index++) {
    if (values[index] != null && values[index - 1] == null && values[index + 1] == null) {
      found.push(index);
    }
  }
  return found;
}
