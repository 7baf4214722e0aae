/** A label set; the metric name is under `__name__`. */
export type Labels = Record<string, string>;

/** A native histogram as the API writes it. */
export interface HistogramValue {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

export interface SeriesResult {
  metric: Labels;
  value?: [number, string];
  values?: [number, string][];
  histogram?: [number, HistogramValue];
  histograms?: [number, HistogramValue][];
}

/** The data of an instant or range query. */
export type QueryData =
  | { resultType: "vector"; result: SeriesResult[] }
  | { resultType: "matrix"; result: SeriesResult[] }
  | { resultType: "scalar"; result: [number, string] }
  | { resultType: "string"; result: [number, string] };

export type Health = "up" | "down" | "unknown";

export interface Target {
  discoveredLabels: Labels;
  labels: Labels;
  scrapePool: string;
  scrapeUrl: string;
  globalUrl: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  health: Health;
  scrapeInterval: string;
  scrapeTimeout: string;
}

export interface TargetsData {
  activeTargets: Target[];
  droppedTargetCounts?: Record<string, number> | null;
}

export type AlertState = "firing" | "pending" | "inactive" | "unknown";

export interface Alert {
  labels: Labels;
  annotations: Labels;
  state: AlertState;
  activeAt?: string;
  keepFiringSince?: string;
  value: string;
}

export interface Rule {
  type: "alerting" | "recording";
  name: string;
  query: string;
  state?: AlertState;
  duration?: number;
  keepFiringFor?: number;
  labels?: Labels;
  annotations?: Labels;
  alerts?: Alert[];
  health: string;
  lastError?: string;
  evaluationTime: number;
  lastEvaluation: string;
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
  evaluationTime: number;
  lastEvaluation: string;
}

/** A notification that was, or was not, delivered. */
export interface Delivery {
  time: string;
  receiver: string;
  integration: string;
  groupLabels: Record<string, string>;
  alerts: number;
  attempts: number;
  error: string | null;
}

export interface Metadata {
  type: string;
  help: string;
  unit?: string;
}
