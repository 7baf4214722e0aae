import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, parseDuration, readableSeconds } from "../app/format/duration";
import { ago, apiTime, formatTime, parseMoment, parseTime } from "../app/format/time";
import { pan, readSpan, shift, zoomOut } from "../app/state/span";

test("durations are those of Prometheus", () => {
  for (const [text, ms] of [
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["1w", 604_800_000],
    ["1y", 31_536_000_000],
    ["250ms", 250],
    ["1s500ms", 1500],
  ] as const) {
    assert.equal(parseDuration(text), ms, text);
    assert.equal(formatDuration(ms), text);
  }
  for (const text of ["", "5", "m", "30m1h", "1.5h", "-5m", "0s", "5 m", "99999999999999y"]) {
    assert.equal(parseDuration(text), null, text);
  }
  assert.equal(formatDuration(8 * 86_400_000), "8d");
  assert.equal(formatDuration(0), "0s");
});

test("times are read with and without a zone", () => {
  const noon = Date.UTC(2026, 10, 21, 12);
  assert.equal(parseTime("2026-11-21 12:00", "utc"), noon);
  assert.equal(parseTime("2026-11-21T12:00:00Z", "local"), noon);
  assert.equal(parseTime("2026-11-21T14:00:00+02:00", "local"), noon);
  assert.equal(parseTime("2026-11-21T06:30:00-0530", "utc"), noon);
  assert.equal(parseTime(String(noon / 1000), "local"), noon);
  // Adelaide, summer time: 10 h 30 m ahead.
  assert.equal(parseTime("2026-11-21 22:30:00", "local"), noon);
  assert.equal(parseTime("2026-11-21", "utc"), Date.UTC(2026, 10, 21));
  assert.equal(parseTime("2026-11-21 12:00:00.250", "utc"), noon + 250);
  for (const text of ["", "noon", "2026-13-01", "2026-02-31", "2026-11-21 25:00", "21.11.2026", "2026-11-21 12:75"]) {
    assert.equal(parseTime(text, "utc"), null, text);
  }
});

test("a shown time reads back the same in both zones", () => {
  const timeMs = Date.UTC(2026, 0, 5, 3, 4, 9);
  assert.equal(formatTime(timeMs, "utc"), "2026-01-05 03:04:09");
  assert.equal(formatTime(timeMs, "local"), "2026-01-05 13:34:09");
  assert.equal(parseTime(formatTime(timeMs, "local"), "local"), timeMs);
});

test("moments may be relative", () => {
  assert.equal(parseMoment("now", 1000, "utc"), 1000);
  assert.equal(parseMoment("now-1m", 100_000, "utc"), 40_000);
  assert.equal(parseMoment("now + 5s", 1000, "utc"), 6000);
  assert.equal(parseMoment("now-soon", 1000, "utc"), null);
});

test("a typed span follows now only where it ends now", () => {
  const now = Date.UTC(2026, 10, 21, 12);
  assert.deepEqual(readSpan("now-6h", "now", "utc", now), { rangeMs: 21_600_000, endMs: null });
  assert.deepEqual(readSpan("now-6h", "", "utc", now), { rangeMs: 21_600_000, endMs: null });
  assert.deepEqual(readSpan("now-6h", "now-1h", "utc", now), { rangeMs: 18_000_000, endMs: now - 3_600_000 });
  assert.deepEqual(readSpan("2026-11-21 10:00", "2026-11-21 11:00", "utc", now), { rangeMs: 3_600_000, endMs: now - 3_600_000 });
  assert.match(readSpan("now", "now-1h", "utc", now) as string, /before/);
  assert.match(readSpan("yesterday", "now", "utc", now) as string, /yesterday/);
  assert.match(readSpan("1990-01-01", "now", "utc", now) as string, /ten years/);
});

test("moving and widening never pass now", () => {
  const now = 1_000_000_000;
  const hour = 3_600_000;
  const back = shift({ rangeMs: hour, endMs: null }, -1, now);
  assert.deepEqual(back, { rangeMs: hour, endMs: now - hour / 2 });
  assert.deepEqual(shift(back, 1, now), { rangeMs: hour, endMs: null });
  assert.deepEqual(pan({ rangeMs: hour, endMs: null }, -90_400, now), { rangeMs: hour, endMs: now - 90_000 });
  assert.deepEqual(zoomOut({ rangeMs: hour, endMs: null }, now), { rangeMs: 2 * hour, endMs: null });
  assert.deepEqual(zoomOut({ rangeMs: hour, endMs: now - 10 * hour }, now), { rangeMs: 2 * hour, endMs: now - 9.5 * hour });
  assert.equal(zoomOut({ rangeMs: hour, endMs: now - 1 }, now).endMs, null);
});

test("ages and lengths read like words", () => {
  assert.equal(ago(0, 4000), "4 s ago");
  assert.equal(ago(0, 300), "just now");
  assert.equal(ago(10_000, 0), "in 10 s");
  assert.equal(ago(0, 7_200_000), "2 h ago");
  assert.equal(readableSeconds(0.00042), "420 µs");
  assert.equal(readableSeconds(0.0042), "4.2 ms");
  assert.equal(readableSeconds(11_400), "3 h 10 m");
  assert.equal(readableSeconds(86_400), "1 d");
  assert.equal(apiTime("0001-01-01T00:00:00Z"), null);
  assert.equal(apiTime("1970-01-01T00:00:01Z"), 1000);
  assert.equal(apiTime(undefined), null);
});
