import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatTime, type Zone } from "../format/time";
import { formatValue } from "../format/value";
import type { ChartModel, ChartSeries } from "./model";
import { chartData, chartOptions, signature, type Look } from "./options";
import { strokeOf } from "./palette";

interface Props {
  model: ChartModel;
  height: number;
  dark: boolean;
  zone: Zone;
  stacked?: boolean;
  hidden?: ReadonlySet<string>;
  small?: boolean;
  /** A sentence for those who do not see the drawing. */
  summary: string;
  onZoom?: (fromSeconds: number, toSeconds: number) => void;
  onZoomOut?: () => void;
  /** Moves the range by so many seconds; negative is earlier. */
  onPan?: (seconds: number) => void;
}

interface Cursor {
  index: number;
  left: number;
  top: number;
}

const none: ReadonlySet<string> = new Set();
/** A cursor box lists no more series than this. */
const cursorRows = 12;

/** A line chart with a cursor, zoom by drag and arrow keys; it fills its parent's width. */
export function Chart(props: Props) {
  const { model, height, dark, zone, stacked = false, hidden = none, small = false, summary } = props;
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<{ plot: uPlot; signature: string } | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [width, setWidth] = useState(0);
  const [cursor, setCursor] = useState<Cursor | null>(null);

  useLayoutEffect(() => {
    const element = host.current!;
    const measure = () => setWidth(Math.floor(element.clientWidth));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.current?.plot.destroy();
      chart.current = null;
    };
  }, []);

  useEffect(() => {
    if (width <= 0) return;
    const look: Look = { width, height, dark, zone, stacked, hidden, small };
    const wanted = signature(model, look);
    const data = chartData(model, look);
    const current = chart.current;
    if (current && current.signature === wanted) {
      if (current.plot.width !== width || current.plot.height !== height) {
        current.plot.setSize({ width, height });
      }
      model.series.forEach(({ key }, index) => {
        const show = !hidden.has(key);
        if (current.plot.series[index + 1]!.show !== show) {
          current.plot.setSeries(index + 1, { show });
        }
      });
      current.plot.setData(data);
      return;
    }
    current?.plot.destroy();
    const options = chartOptions(
      model,
      look,
      () => [latest.current.model.from, latest.current.model.to],
      {
        zoom: (from, to) => latest.current.onZoom?.(from, to),
        cursor: (index, left, top) => setCursor(index === null ? null : { index, left, top }),
      },
    );
    const plot = new uPlot(options, data, host.current!);
    plot.over.addEventListener("dblclick", () => latest.current.onZoomOut?.());
    panWithShift(plot, (seconds) => latest.current.onPan?.(seconds));
    chart.current = { plot, signature: wanted };
  }, [model, width, height, dark, zone, stacked, hidden, small]);

  const onKeyDown = (event: KeyboardEvent) => {
    const plot = chart.current?.plot;
    if (!plot) return;
    const step = event.shiftKey ? 10 : 1;
    const length = model.times.length;
    const at = cursor?.index ?? length;
    const moves: Record<string, number> = {
      ArrowLeft: at - step,
      ArrowRight: cursor ? at + step : 0,
      Home: 0,
      End: length - 1,
    };
    if (event.key === "Escape") {
      plot.setCursor({ left: -10, top: -10 });
      return;
    }
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(length - 1, next));
    plot.setCursor({ left: plot.valToPos(model.times[index]!, "x"), top: plot.over.clientHeight / 3 });
  };

  const over = chart.current?.plot;
  const rows = cursor && over ? cursorValues(model, hidden, cursor, over, stacked) : [];
  return (
    <div
      class="chart"
      data-testid="chart"
      role={small ? "img" : "group"}
      aria-roledescription={small ? undefined : "line chart"}
      aria-label={summary}
      tabIndex={small ? undefined : 0}
      onKeyDown={onKeyDown}
    >
      <div ref={host} class="chart-canvas" style={{ height: `${height}px` }} />
      {cursor && over && rows.length > 0 && (
        <CursorBox cursor={cursor} plot={over} time={model.times[cursor.index]!} zone={zone} rows={rows} dark={dark} />
      )}
      {!small && (
        <div class="sr-only" aria-live="polite">
          {cursor && rows.length > 0
            ? `${formatTime(model.times[cursor.index]! * 1000, zone)}: ${rows
                .slice(0, 3)
                .map(({ series, value }) => `${series.name} ${formatValue(value, series.unit)}`)
                .join(", ")}`
            : ""}
        </div>
      )}
    </div>
  );
}

// While it is dragged with Shift, the drawn bitmap moves; the new range is asked for on release.
function panWithShift(plot: uPlot, onPan: (seconds: number) => void) {
  plot.over.addEventListener(
    "mousedown",
    (down) => {
      if (!down.shiftKey || down.button !== 0) return;
      // Before the chart's own handler, which would start to zoom.
      down.stopImmediatePropagation();
      down.preventDefault();
      const canvas = plot.root.querySelector("canvas")!;
      const move = (event: MouseEvent) => {
        canvas.style.transform = `translateX(${event.clientX - down.clientX}px)`;
      };
      const up = (event: MouseEvent) => {
        removeEventListener("mousemove", move);
        removeEventListener("mouseup", up);
        canvas.style.transform = "";
        const moved = event.clientX - down.clientX;
        if (Math.abs(moved) > 2) {
          onPan(plot.posToVal(0, "x") - plot.posToVal(moved, "x"));
        }
      };
      addEventListener("mousemove", move);
      addEventListener("mouseup", up);
    },
    { capture: true },
  );
}

interface CursorRow {
  series: ChartSeries;
  index: number;
  value: number;
  near: boolean;
}

function CursorBox({
  cursor,
  plot,
  time,
  zone,
  rows,
  dark,
}: {
  cursor: Cursor;
  plot: uPlot;
  time: number;
  zone: Zone;
  rows: CursorRow[];
  dark: boolean;
}) {
  const area = plot.over;
  const right = cursor.left < area.clientWidth / 2;
  const side = right
    ? { left: `${area.offsetLeft + cursor.left + 14}px` }
    : { right: `${plot.width - area.offsetLeft - cursor.left + 14}px` };
  const shown = rows.slice(0, cursorRows);
  return (
    <div class="cursor-box" data-testid="cursor" aria-hidden="true" style={{ ...side, top: `${area.offsetTop + 4}px` }}>
      <div class="cursor-time">{formatTime(time * 1000, zone)}</div>
      {shown.map(({ series, index, value, near }) => (
        <div key={series.key} class={near ? "cursor-row near" : "cursor-row"}>
          <Swatch index={index} dark={dark} />
          <span class="cursor-name">{series.name}</span>
          <span class="num">{formatValue(value, series.unit)}</span>
        </div>
      ))}
      {rows.length > shown.length && <div class="muted">and {rows.length - shown.length} more</div>}
    </div>
  );
}

/** The line sample beside a series' name. */
export function Swatch({ index, dark }: { index: number; dark: boolean }) {
  const { color, dash } = strokeOf(index, dark);
  return (
    <svg class="swatch" width="16" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="16" y2="4" stroke={color} stroke-width="3" stroke-dasharray={dash.join(" ")} />
    </svg>
  );
}

// Largest first, as the lines lie on the screen; where they are too many, those around the nearest.
function cursorValues(
  model: ChartModel,
  hidden: ReadonlySet<string>,
  cursor: Cursor,
  plot: uPlot,
  stacked: boolean,
): CursorRow[] {
  const target = plot.posToVal(cursor.top, "y");
  const rows: CursorRow[] = [];
  let nearest: CursorRow | null = null;
  let distance = Infinity;
  model.series.forEach((series, index) => {
    const value = series.values[cursor.index];
    if (value === null || value === undefined || hidden.has(series.key)) return;
    const row = { series, index, value, near: false };
    const drawn = plot.data[index + 1]?.[cursor.index] ?? value;
    if (Math.abs(drawn - target) < distance) {
      distance = Math.abs(drawn - target);
      nearest = row;
    }
    rows.push(row);
  });
  if (nearest && rows.length > 1) {
    (nearest as CursorRow).near = true;
  }
  if (!stacked) {
    rows.sort((a, b) => b.value - a.value);
  } else {
    rows.reverse();
  }
  const at = rows.findIndex(({ near }) => near);
  const first = Math.max(0, Math.min(at - cursorRows / 2, rows.length - cursorRows));
  return first > 0 ? [...rows.slice(first), ...rows.slice(0, first)] : rows;
}
