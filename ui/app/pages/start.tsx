import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { post } from "../api/client";
import { toColumns, type Columns, type Grid } from "../api/decode";
import type { QueryData } from "../api/types";
import { Chart } from "../chart/chart";
import { buildChart } from "../chart/model";
import { formatValue, type Unit } from "../format/value";
import { Notice } from "../parts/notice";
import { graphLink } from "../state/url";
import { at } from "../base";
import { gridOf } from "../state/answers";
import { messageOf, useInterval } from "../state/load";
import { dark, zone } from "../state/settings";

/** An expression worth drawing on nearly every server; cards without data are not shown. */
interface Example {
  title: string;
  expression: string;
  unit: Unit;
  /** Needs two scrapes, so it may come a little later. */
  rated?: boolean;
}

const examples: Example[] = [
  {
    title: "CPU of the host",
    expression: '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m])))',
    unit: "percent",
    rated: true,
  },
  {
    title: "Memory in use on the host",
    expression: "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
    unit: "bytes",
  },
  { title: "Load of the host", expression: "node_load1", unit: "" },
  {
    title: "Network received",
    expression: 'sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[1m]))',
    unit: "bytes/s",
    rated: true,
  },
  { title: "Memory of each process", expression: "process_resident_memory_bytes", unit: "bytes" },
  { title: "CPU of each process", expression: "100 * rate(process_cpu_seconds_total[1m])", unit: "percent", rated: true },
  { title: "Requests to services, per second", expression: "sum by (job) (rate(http_requests_total[1m]))", unit: "", rated: true },
  {
    title: "Requests to this server, per second",
    expression: "sum by (job) (rate(prometheus_http_requests_total[1m]))",
    unit: "",
    rated: true,
  },
  { title: "Samples in each scrape", expression: "scrape_samples_scraped", unit: "" },
  { title: "Time that a scrape takes", expression: "scrape_duration_seconds", unit: "seconds" },
];

const rangeMs = 15 * 60_000;
const stepMs = 5000;
const reloadMs = 5000;
/** A server with less than this recorded is watched more closely: somebody has just started it. */
const youngMs = 2 * 60_000;
const youngStepMs = 1000;

function nextGrid(young: boolean): Grid {
  return young ? gridOf(youngMs, null, youngStepMs) : gridOf(rangeMs, null, stepMs);
}

interface Props {
  /** Called when the first answers are there. */
  onReady: () => void;
}

/** What the query page shows before anything is asked: what is already recorded, drawn. */
export function Start({ onReady }: Props) {
  const [grid, setGrid] = useState<Grid>(() => nextGrid(false));
  const [answers, setAnswers] = useState<(Columns | null)[] | null>(null);
  const [error, setError] = useState<string | null>(null);

  const pending = useRef(false);

  const [young, setYoung] = useState(false);

  useInterval(
    () => {
      if (!pending.current) setGrid(nextGrid(young));
    },
    young ? youngStepMs : reloadMs,
  );
  useEffect(() => {
    const stop = new AbortController();
    pending.current = true;
    const ask = async ({ expression }: Example): Promise<Columns | null> => {
      const { data } = await post<QueryData>("query_range", { query: expression, ...grid, timeout: "4s" }, stop.signal);
      const columns = toColumns(data, grid);
      return columns.lines.length > 0 ? columns : null;
    };
    void Promise.allSettled(examples.map(ask)).then((all) => {
      if (stop.signal.aborted) return;
      pending.current = false;
      const failed = all.find((one) => one.status === "rejected");
      const none = all.every((one) => one.status === "rejected");
      setError(failed && none ? messageOf(failed.reason) : null);
      const found = all.map((one) => (one.status === "fulfilled" ? one.value : null));
      setAnswers(found);
      setYoung(!none && found.every((columns) => columns === null || columns.times.at(-1)! - startOf(columns) < youngMs / 1000));
      onReady();
    });
    return () => stop.abort();
  }, [grid]);

  const drawn = examples.flatMap((example, index) => {
    const columns = answers?.[index];
    return columns ? [{ example, columns }] : [];
  });
  const host = examples.filter(({ expression }) => expression.includes("node_"));
  const waiting =
    drawn.some(({ example }) => host.includes(example)) &&
    examples.some((example, index) => example.rated && host.includes(example) && !answers?.[index]);
  return (
    <section class="start" aria-label="What is recorded already" data-testid="start">
      <div class="start-head">
        <h2>{young ? "Recorded so far" : "Recorded in the last 15 minutes"}</h2>
        <span class="muted">
          {answers === null
            ? "asking…"
            : waiting
              ? "Rates appear after the second scrape. Click a graph to work on it."
              : drawn.length > 0
                ? "Click a graph to work on it, or type an expression above."
                : ""}
        </span>
      </div>
      {error && <Notice tone="bad">{error}</Notice>}
      {answers !== null && drawn.length === 0 && !error && (
        <Notice tone="info">
          Nothing is recorded yet. The first scrape comes within seconds, and appears here by itself. If nothing comes,{" "}
          <a href={at("targets")}>look at the targets</a>.
        </Notice>
      )}
      <div class="cards">
        {drawn.length === 0 && !error && examples.slice(0, 6).map(({ title }) => <div key={title} class="card ghost" aria-hidden="true" />)}
        {drawn.map(({ example, columns }) => (
          <Card key={example.title} example={example} columns={columns} young={young} />
        ))}
      </div>
    </section>
  );
}

function Card({
  example: { title, expression, unit },
  columns,
  young,
}: {
  example: Example;
  columns: Columns;
  young: boolean;
}) {
  const model = useMemo(() => {
    // A server that has just started has seconds of data: draw those, not fifteen empty minutes.
    const start = Math.max(0, Math.min(columns.times.indexOf(startOf(columns)) - 1, columns.times.length - 24));
    const lines = columns.lines.map((line) => ({ ...line, values: line.values.slice(start) }));
    const times = columns.times.slice(start);
    return buildChart(times, times[0]!, columns.times.at(-1)!, [{ index: 0, letter: "", unit, lines }], false);
  }, [columns]);
  const single = model.series.length === 1 ? model.series[0]! : null;
  const now = single ? formatValue(single.stats.last, unit, 3) : `${model.series.length} series`;
  return (
    <a class="card" data-testid="example" title={expression} href={at(graphLink(expression, { rangeMs: young ? 5 * 60_000 : rangeMs, refreshMs: reloadMs }))}>
      <span class="card-head">
        <span class="card-title">{title}</span>
        <span class="num card-value">{now}</span>
      </span>
      <Chart model={model} height={120} dark={dark.value} zone={zone.value} small summary={`${title}, now ${now}`} />
      <code class="card-code">{expression}</code>
    </a>
  );
}

/** The time of the first sample, in seconds. */
function startOf({ times, lines }: Columns): number {
  return times.find((_, index) => lines.some(({ values }) => values[index] !== null)) ?? times[0]!;
}
