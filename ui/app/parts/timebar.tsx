import { useRef, useState } from "preact/hooks";
import { formatDuration, parseDuration } from "../format/duration";
import { formatTime } from "../format/time";
import { zone } from "../state/settings";
import { readSpan, shift, zoomOut, type Span } from "../state/span";
import { Icon } from "./icons";

const ranges = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "2d", "1w", "2w", "30d", "90d", "1y"];
const refreshes = ["5s", "10s", "30s", "1m", "5m", "15m"];

interface Props extends Span {
  refreshMs: number;
  onSpan: (span: Span) => void;
  onRefresh: (refreshMs: number) => void;
}

/** Range, end and reloading, shared by everything on the page. */
export function TimeBar(props: Props) {
  const { rangeMs, endMs, refreshMs, onSpan, onRefresh } = props;
  const span: Span = { rangeMs, endMs };
  const panel = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const label =
    endMs === null
      ? `Last ${formatDuration(rangeMs)}`
      : `${formatTime(endMs - rangeMs, zone.value)} to ${shortEnd(endMs, rangeMs)}`;
  return (
    <div class="timebar" role="group" aria-label="Time range">
      <button type="button" class="tool" title="Earlier" aria-label="Earlier" onClick={() => onSpan(shift(span, -1))}>
        <Icon name="left" />
      </button>
      <button
        ref={button}
        type="button"
        class="tool wide"
        data-testid="range"
        popovertarget="range-panel"
        aria-haspopup="dialog"
      >
        <Icon name="clock" size={16} />
        <span class="num">{label}</span>
        <Icon name="more" size={14} />
      </button>
      <button
        type="button"
        class="tool"
        title="Later"
        aria-label="Later"
        disabled={endMs === null}
        onClick={() => onSpan(shift(span, 1))}
      >
        <Icon name="right" />
      </button>
      <button type="button" class="tool" title="Twice the range" aria-label="Twice the range" onClick={() => onSpan(zoomOut(span))}>
        <Icon name="out" />
      </button>
      <label class="tool select" title={endMs === null ? "Reload by itself" : "A fixed range does not change: choose one that ends now"}>
        <span class="muted">every</span>
        <select
          data-testid="refresh"
          aria-label="Reload by itself"
          disabled={endMs !== null}
          value={refreshMs === 0 ? "off" : formatDuration(refreshMs)}
          onChange={(event) => onRefresh(parseDuration(event.currentTarget.value) ?? 0)}
        >
          <option value="off">off</option>
          {withOwn(refreshes, refreshMs).map((text) => (
            <option key={text} value={text}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <div
        ref={panel}
        id="range-panel"
        popover="auto"
        class="popover"
        role="dialog"
        aria-label="Choose a time range"
        onBeforeToggle={(event) => placeUnder(event, button.current)}
      >
        <RangePanel
          span={span}
          onSpan={(chosen) => {
            panel.current?.hidePopover();
            onSpan(chosen);
          }}
        />
      </div>
    </div>
  );
}

function RangePanel({ span, onSpan }: { span: Span; onSpan: (span: Span) => void }) {
  const [error, setError] = useState("");
  const from = useRef<HTMLInputElement>(null);
  const to = useRef<HTMLInputElement>(null);
  const { rangeMs, endMs } = span;
  const fromText = endMs === null ? `now-${formatDuration(rangeMs)}` : formatTime(endMs - rangeMs, zone.value);
  const toText = endMs === null ? "now" : formatTime(endMs, zone.value);
  const apply = (event: Event) => {
    event.preventDefault();
    const chosen = readSpan(from.current!.value, to.current!.value, zone.value);
    if (typeof chosen === "string") {
      setError(chosen);
    } else {
      setError("");
      onSpan(chosen);
    }
  };
  return (
    <div class="range-panel">
      <div class="quick" role="group" aria-label="Ranges that end now">
        {ranges.map((text) => (
          <button
            key={text}
            type="button"
            class={endMs === null && parseDuration(text) === rangeMs ? "quick-item on" : "quick-item"}
            onClick={() => onSpan({ rangeMs: parseDuration(text)!, endMs: null })}
          >
            {text}
          </button>
        ))}
      </div>
      <form onSubmit={apply} key={`${fromText} ${toText}`}>
        <label>
          From
          <input ref={from} name="from" data-testid="range-from" defaultValue={fromText} spellcheck={false} />
        </label>
        <label>
          To
          <input ref={to} name="to" data-testid="range-to" defaultValue={toText} spellcheck={false} />
        </label>
        <p class="muted hint">
          now, now-6h, 2026-11-21 09:00, Unix seconds; {zone.value === "utc" ? "UTC" : "local time"}
        </p>
        {error && (
          <p class="bad-text" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="primary">
          Apply
        </button>
      </form>
    </div>
  );
}

// Popovers lie above everything, so their place is theirs to find; never past the right edge.
function placeUnder(event: Event, anchor: HTMLElement | null) {
  const panel = event.currentTarget as HTMLElement;
  if ((event as ToggleEvent).newState !== "open" || !anchor) return;
  const { left, bottom } = anchor.getBoundingClientRect();
  panel.style.top = `${bottom + 4}px`;
  panel.style.left = `${Math.max(4, Math.min(left, innerWidth - 450))}px`;
}

function shortEnd(endMs: number, rangeMs: number): string {
  const end = formatTime(endMs, zone.value);
  const start = formatTime(endMs - rangeMs, zone.value);
  return start.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end;
}

// A link may carry a pause that the list does not have.
function withOwn(list: string[], ownMs: number): string[] {
  const own = formatDuration(ownMs);
  return ownMs === 0 || list.includes(own) ? list : [...list, own];
}
