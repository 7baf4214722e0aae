import { parseDuration } from "./duration";

/** How wall-clock times are shown: the browser's zone or UTC. */
export type Zone = "local" | "utc";

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

/** `2026-11-21 09:05:00` in the zone; seconds stay, so that a copied time means the same. */
export function formatTime(timeMs: number, zone: Zone): string {
  const { year, month, day, hour, minute, second } = parts(timeMs, zone);
  return `${String(year).padStart(4, "0")}-${two(month)}-${two(day)} ${two(hour)}:${two(minute)}:${two(second)}`;
}

/** `09:05:00` in the zone. */
export function formatClock(timeMs: number, zone: Zone): string {
  return formatTime(timeMs, zone).slice(11);
}

/**
 * Milliseconds since 1970 of `2026-11-21 09:05[:00[.123]]`, of RFC 3339 text or of Unix seconds, or null.
 * A text without zone is in `zone`.
 */
export function parseTime(text: string, zone: Zone): number | null {
  const trimmed = text.trim();
  if (/^\d{9,11}(\.\d+)?$/.test(trimmed)) {
    return Math.round(Number(trimmed) * 1000);
  }
  const found =
    /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$/i.exec(
      trimmed,
    );
  if (!found) {
    return null;
  }
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "0", offset] = found;
  const fields = [year, month, day, hour, minute, second].map(Number) as [
    number, number, number, number, number, number,
  ];
  fields[1] -= 1;
  const millis = Math.floor(Number(`0.${fraction}`) * 1000);
  const utc = Date.UTC(...fields, millis);
  const back = new Date(utc);
  // Date.UTC rolls 31 February over to March; a typed date must be one that exists.
  if (back.getUTCMonth() !== fields[1] || back.getUTCDate() !== fields[2] || fields[3] > 23 || fields[4] > 59) {
    return null;
  }
  if (offset) {
    const signed = /^z$/i.test(offset) ? 0 : offsetMinutes(offset);
    return utc - signed * 60_000;
  }
  return zone === "utc" ? utc : new Date(...fields, millis).getTime();
}

/** A moment as people type it: `now`, `now-6h`, `now+5m`, or anything that {@link parseTime} takes. */
export function parseMoment(text: string, nowMs: number, zone: Zone): number | null {
  const found = /^now(?:\s*([+-])\s*(\S+))?$/i.exec(text.trim());
  if (!found) {
    return parseTime(text, zone);
  }
  if (!found[1]) {
    return nowMs;
  }
  const shift = parseDuration(found[2] ?? "");
  return shift === null ? null : found[1] === "-" ? nowMs - shift : nowMs + shift;
}

/** `4 s ago`, `in 3 m`, `just now`; at most a rough unit. */
export function ago(timeMs: number, nowMs: number): string {
  const seconds = Math.round((nowMs - timeMs) / 1000);
  if (Math.abs(seconds) < 1) return "just now";
  const size = Math.abs(seconds);
  const text =
    size < 90
      ? `${size} s`
      : size < 5400
        ? `${Math.round(size / 60)} m`
        : size < 129_600
          ? `${Math.round(size / 3600)} h`
          : `${Math.round(size / 86_400)} d`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** The time of an API field such as `lastScrape`, or null where it never happened (Go's year 1). */
export function apiTime(text: string | undefined): number | null {
  if (!text || text.startsWith("0001-")) {
    return null;
  }
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) ? null : timeMs;
}

function parts(timeMs: number, zone: Zone): Parts {
  const date = new Date(timeMs);
  return zone === "utc"
    ? {
        year: date.getUTCFullYear(),
        month: date.getUTCMonth() + 1,
        day: date.getUTCDate(),
        hour: date.getUTCHours(),
        minute: date.getUTCMinutes(),
        second: date.getUTCSeconds(),
      }
    : {
        year: date.getFullYear(),
        month: date.getMonth() + 1,
        day: date.getDate(),
        hour: date.getHours(),
        minute: date.getMinutes(),
        second: date.getSeconds(),
      };
}

function offsetMinutes(text: string): number {
  const sign = text.startsWith("-") ? -1 : 1;
  return sign * (Number(text.slice(1, 3)) * 60 + Number(text.slice(-2)));
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
