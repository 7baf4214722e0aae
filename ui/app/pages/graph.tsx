import { useEffect, useMemo, useState } from "preact/hooks";
import { Chart } from "../chart/chart";
import { Legend } from "../chart/legend";
import { buildChart, crowdedAt, type ChartModel, type Part } from "../chart/model";
import { formatDuration } from "../format/duration";
import { formatTime } from "../format/time";
import { formatValue, unitOf } from "../format/value";
import { Notice } from "../parts/notice";
import type { Answer, Answers } from "../state/answers";
import { dark, zone } from "../state/settings";
import type { QueryState } from "../state/url";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

interface Props {
  answers: Answers;
  state: QueryState;
  onZoom: (from: number, to: number) => void;
  onZoomOut: () => void;
  onPan: (seconds: number) => void;
}

/** The answers as lines, on one chart or one chart each. */
export function GraphView({ answers, state, onZoom, onZoomOut, onPan }: Props) {
  const parts = useMemo(() => partsOf(answers.list), [answers.list]);
  if (!answers.ready) {
    return <div class="chart-wait" aria-hidden="true" />;
  }
  if (parts.length === 0) {
    return answers.loading ? <div class="chart-wait" aria-hidden="true" /> : null;
  }
  if (parts.every(({ lines }) => lines.length === 0)) {
    return <NoData state={state} />;
  }
  const groups = state.split ? parts.map((part) => [part]) : [parts];
  return (
    <>
      {groups.map((group) => (
        <OneChart key={group[0]!.index} parts={group} answers={answers} state={state} onZoom={onZoom} onZoomOut={onZoomOut} onPan={onPan} />
      ))}
    </>
  );
}

function OneChart({ parts, answers, state, onZoom, onZoomOut, onPan }: Props & { parts: Part[] }) {
  const [showAll, setShowAll] = useState(false);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const { grid } = answers;
  const model = useMemo(() => {
    const times = answers.list.find(({ columns }) => columns)?.columns?.times ?? [];
    return buildChart(times, grid.start, grid.end, parts, showAll);
  }, [parts, grid, showAll]);
  const asked = JSON.stringify(state.expressions);
  useEffect(() => {
    setHidden(new Set());
    setShowAll(false);
  }, [asked]);

  const total = parts.reduce((sum, { lines }) => sum + lines.length, 0);
  const infinite = parts.reduce((sum, { lines }) => sum + lines.reduce((part, one) => part + one.infinite, 0), 0);
  const natives = parts.reduce((sum, { index }) => sum + (answers.list[index]?.columns?.histograms ?? 0), 0);
  return (
    <section class="graph">
      {model.rest && (
        <Notice tone="info" testid="crowded">
          The {model.series.length} largest of {total.toLocaleString("en")} series by mean are drawn; the other{" "}
          {model.rest.count.toLocaleString("en")} lie in the grey band.{" "}
          <button type="button" class="link" onClick={() => setShowAll(true)}>
            Draw all
          </button>
        </Notice>
      )}
      {showAll && total > crowdedAt && (
        <Notice tone="info">
          All {total.toLocaleString("en")} series are drawn.{" "}
          <button type="button" class="link" onClick={() => setShowAll(false)}>
            Draw the largest
          </button>
        </Notice>
      )}
      {infinite > 0 && <Notice tone="info">{infinite} samples are infinite and cannot be drawn; the table shows them.</Notice>}
      {natives > 0 && <Notice tone="info">{natives} series are native histograms: their sum of observations is drawn.</Notice>}
      <Chart
        model={model}
        height={Math.max(220, Math.min(420, Math.round(innerHeight * (state.split ? 0.3 : 0.45))))}
        dark={dark.value}
        zone={zone.value}
        stacked={state.display === "stacked"}
        hidden={hidden}
        summary={summaryOf(model)}
        onZoom={onZoom}
        onZoomOut={onZoomOut}
        onPan={onPan}
      />
      <Legend model={model} dark={dark.value} hidden={hidden} onHidden={setHidden} />
    </section>
  );
}

function NoData({ state }: { state: QueryState }) {
  return (
    <Notice tone="info" testid="no-data">
      No series match in this range ({formatDuration(state.rangeMs)}
      {state.endMs === null ? " until now" : ` until ${formatTime(state.endMs, zone.value)}`}). Check the name and the
      matchers with completion, or choose a longer range. Rates need two samples inside their window.
    </Notice>
  );
}

/** One sentence about a chart for those who do not see it. */
export function summaryOf(model: ChartModel): string {
  const first = model.series[0];
  const what =
    model.series.length === 1 && first
      ? `${first.name}, last ${formatValue(first.stats.last, first.unit)}, from ${formatValue(first.stats.min, first.unit)} to ${formatValue(first.stats.max, first.unit)}`
      : `${model.series.length} series`;
  return `Line chart of ${what}, ${formatTime(model.from * 1000, zone.value)} to ${formatTime(model.to * 1000, zone.value)}. Arrow keys move the cursor.`;
}

function partsOf(list: Answer[]): Part[] {
  const several = list.filter(({ expression }) => expression.trim() !== "").length > 1;
  return list.flatMap(({ expression, columns }, index) =>
    columns ? [{ index, letter: several ? letters[index]! : "", unit: unitOf(expression), lines: columns.lines }] : [],
  );
}
