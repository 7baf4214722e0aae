import { parseMoment, type Zone } from "../format/time";

const longestMs = 10 * 365 * 86_400_000;
const shortestMs = 1000;

/** A stretch of time that ends at a moment, or follows now. */
export interface Span {
  rangeMs: number;
  endMs: number | null;
}

/** A range moved by so many ms, negative is earlier; moving past now follows now again. */
export function pan({ rangeMs, endMs }: Span, byMs: number, nowMs = Date.now()): Span {
  const moved = Math.round(((endMs ?? nowMs) + byMs) / 1000) * 1000;
  return { rangeMs, endMs: moved >= nowMs ? null : moved };
}

/** Half of a range earlier or later. */
export function shift(span: Span, direction: -1 | 1, nowMs = Date.now()): Span {
  return pan(span, (direction * span.rangeMs) / 2, nowMs);
}

/** Twice the range around the same middle. */
export function zoomOut({ rangeMs, endMs }: Span, nowMs = Date.now()): Span {
  const wide = Math.min(longestMs, rangeMs * 2);
  if (endMs === null) {
    return { rangeMs: wide, endMs: null };
  }
  const end = endMs + (wide - rangeMs) / 2;
  return { rangeMs: wide, endMs: end >= nowMs ? null : Math.round(end) };
}

/** The span between two typed moments, or what is wrong with them. */
export function readSpan(from: string, to: string, zone: Zone, nowMs = Date.now()): Span | string {
  const start = parseMoment(from, nowMs, zone);
  const end = parseMoment(to.trim() === "" ? "now" : to, nowMs, zone);
  if (start === null) return `“${from}” is no time.`;
  if (end === null) return `“${to}” is no time.`;
  if (end - start < shortestMs) return "The start must be before the end.";
  if (end - start > longestMs) return "More than ten years are too much.";
  return { rangeMs: end - start, endMs: end === nowMs ? null : end };
}
