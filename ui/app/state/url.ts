import { formatDuration, parseDuration } from "../format/duration";
import { formatTime, parseTime } from "../format/time";

export type Tab = "graph" | "table";
export type Display = "lines" | "stacked";

/** Everything about the query page that a link must carry. */
export interface QueryState {
  /** At least one; an empty string is a line not filled in yet. */
  expressions: string[];
  tab: Tab;
  rangeMs: number;
  /** The right edge, or null for now. */
  endMs: number | null;
  /** A fixed step, or null for about one point per two pixels. */
  stepMs: number | null;
  display: Display;
  /** Each expression on a graph of its own. */
  split: boolean;
  /** The pause between reloads, or 0 for none. */
  refreshMs: number;
}

export const defaults: QueryState = {
  expressions: [""],
  tab: "graph",
  rangeMs: 3_600_000,
  endMs: null,
  stepMs: null,
  display: "lines",
  split: false,
  refreshMs: 0,
};

/** More expressions than this in one link are ignored. */
export const maxExpressions = 26;

/**
 * Reads the parameters that Prometheus puts into its links (`g0.expr`, `g0.range_input`, …), old and new ones,
 * and ours. The first panel gives the range and the tab of the whole page, since a page has one of each.
 */
export function readState(search: string): QueryState {
  const params = new URLSearchParams(search);
  const state: QueryState = { ...defaults, expressions: [] };
  for (let index = 0; index < maxExpressions && params.has(`g${index}.expr`); index++) {
    state.expressions.push(params.get(`g${index}.expr`) ?? "");
  }
  if (state.expressions.length === 0) {
    state.expressions.push(params.get("query") ?? params.get("expr") ?? "");
  }
  const first = (name: string) => params.get(`g0.${name}`) ?? "";
  // Numbers are what Prometheus 2 wrote.
  state.tab = ["table", "1"].includes(first("tab")) ? "table" : "graph";
  state.rangeMs = parseDuration(first("range_input")) ?? defaults.rangeMs;
  // Prometheus writes both, always in UTC.
  state.endMs = parseTime(first("end_input"), "utc") ?? parseTime(first("moment_input"), "utc");
  state.stepMs = readStep(first);
  state.display = first("display_mode") === "stacked" || first("stacked") === "1" ? "stacked" : "lines";
  state.split = params.get("split") === "1";
  state.refreshMs = parseDuration(params.get("refresh") ?? "") ?? 0;
  return state;
}

/** The search text of a state, without what is default: short links, and ones that Prometheus opens too. */
export function writeState(state: QueryState): string {
  const params = new URLSearchParams();
  state.expressions.forEach((expression, index) => params.set(`g${index}.expr`, expression));
  params.set("g0.tab", state.tab);
  params.set("g0.range_input", formatDuration(state.rangeMs));
  if (state.endMs !== null) {
    params.set("g0.end_input", formatTime(state.endMs, "utc"));
  }
  if (state.stepMs !== null) {
    params.set("g0.step_input", String(state.stepMs / 1000));
  }
  if (state.display !== "lines") {
    params.set("g0.display_mode", state.display);
  }
  if (state.split) {
    params.set("split", "1");
  }
  if (state.refreshMs > 0) {
    params.set("refresh", formatDuration(state.refreshMs));
  }
  return `?${params}`;
}

/** The link to one expression drawn over a range. */
export function graphLink(expression: string, more: Partial<QueryState> = {}): string {
  return `query${writeState({ ...defaults, ...more, expressions: [expression] })}`;
}

/** A step in ms that gives about one point per two pixels, in round numbers, within the API's 11,000 points. */
export function autoStep(rangeMs: number, widthPx: number): number {
  const points = Math.max(100, Math.min(5000, Math.floor(widthPx / 2)));
  const wanted = rangeMs / points;
  const round = [
    1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
    7_200_000, 21_600_000, 43_200_000, 86_400_000,
  ];
  return round.find((step) => step >= wanted * 0.99) ?? Math.ceil(wanted / 86_400_000) * 86_400_000;
}

function readStep(first: (name: string) => string): number | null {
  if (first("res_type") === "auto") {
    return null;
  }
  const text = first("res_step") || first("step_input");
  const seconds = Number(text);
  if (text !== "" && Number.isFinite(seconds) && seconds >= 0.001) {
    return Math.round(seconds * 1000);
  }
  return parseDuration(text);
}
