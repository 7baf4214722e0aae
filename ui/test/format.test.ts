import assert from "node:assert/strict";
import { test } from "node:test";
import { buildChart, crowdedAt, shownWhenCrowded, stack, statsOf, type Part } from "../app/chart/model";
import { explainScrapeError } from "../app/format/scrape";
import { formatValue, unitOf } from "../app/format/value";

test("values carry their unit and about four digits", () => {
  assert.equal(formatValue(1536, "bytes"), "1.5 KiB");
  assert.equal(formatValue(0, "bytes"), "0 B");
  assert.equal(formatValue(3 * 2 ** 30, "bytes/s"), "3 GiB/s");
  assert.equal(formatValue(0.0042, "seconds"), "4.2 ms");
  assert.equal(formatValue(0.25, "ratio"), "25 %");
  assert.equal(formatValue(12.34567, "percent"), "12.35 %");
  assert.equal(formatValue(1234567), "1.235M");
  assert.equal(formatValue(9999), "9999");
  assert.equal(formatValue(0.00042), "420µ");
  assert.equal(formatValue(-1.5), "-1.5");
  assert.equal(formatValue(NaN), "NaN");
  assert.equal(formatValue(Infinity), "+Inf");
  assert.equal(formatValue(null), "–");
});

test("units come from names, and only where the expression keeps them", () => {
  for (const [expression, unit] of [
    ["process_resident_memory_bytes", "bytes"],
    ["node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "bytes"],
    ['sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[1m]))', "bytes/s"],
    ["scrape_duration_seconds", "seconds"],
    ["histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", "seconds"],
    ["rate(node_cpu_seconds_total[1m])", ""],
    ["node_memory_MemFree_bytes / node_memory_MemTotal_bytes", ""],
    ["count(process_resident_memory_bytes)", ""],
    ["process_start_time_seconds", ""],
    ["rate(http_request_duration_seconds_count[5m])", ""],
    ["max_over_time(go_gc_duration_seconds[1h])", "seconds"],
    ['{job="x_bytes"}', ""],
    ["a_bytes or b_seconds", ""],
    ["up", ""],
    ["", ""],
  ] as const) {
    assert.equal(unitOf(expression), unit, expression);
  }
});

test("statistics leave gaps out", () => {
  assert.deepEqual(statsOf([null, 2, null, 6, null]), { last: 6, min: 2, max: 6, mean: 4 });
  assert.deepEqual(statsOf([null]), { last: null, min: null, max: null, mean: null });
});

test("a stack grows from the first series, and an empty step stays empty", () => {
  assert.deepEqual(stack([[1, null, 2], [3, null, null]]), [[1, null, 2], [4, null, 2]]);
});

function part(count: number, length = 2): Part {
  const lines = Array.from({ length: count }, (_, index) => ({
    labels: { __name__: "m", job: "j", n: String(index) },
    values: new Array<number | null>(length).fill(index),
    infinite: 0,
  }));
  return { index: 0, letter: "", unit: "", lines };
}

test("a crowded graph shows the largest and the range of the rest", () => {
  const all = buildChart([1, 2], 1, 2, [part(crowdedAt)], false);
  assert.equal(all.series.length, crowdedAt);
  assert.equal(all.rest, null);
  const crowded = buildChart([1, 2], 1, 2, [part(crowdedAt + 1)], false);
  assert.equal(crowded.series.length, shownWhenCrowded);
  assert.equal(crowded.series[0]!.labels["n"], String(crowdedAt + 1 - shownWhenCrowded));
  assert.deepEqual(crowded.rest, { count: 31, min: [0, 0], max: [30, 30] });
  assert.equal(buildChart([1, 2], 1, 2, [part(crowdedAt + 1)], true).series.length, crowdedAt + 1);
});

test("names hold only what tells series apart", () => {
  const model = buildChart([1, 2], 1, 2, [part(2)], false);
  assert.deepEqual(model.common, { job: "j" });
  assert.deepEqual(model.series.map(({ name }) => name), ['m{n="0"}', 'm{n="1"}']);
  assert.equal(buildChart([1, 2], 1, 2, [part(1)], false).series[0]!.name, 'm{job="j", n="0"}');
});

test("scrape errors come with advice", () => {
  const url = "http://app:3000/metrics";
  assert.match(explainScrapeError("dial tcp: connect: connection refused", url)!, /Nothing listens at app:3000/);
  assert.match(explainScrapeError("server returned HTTP status 404 Not Found", url)!, /metrics_path/);
  assert.match(explainScrapeError("context deadline exceeded", url)!, /in time/);
  assert.equal(explainScrapeError("something new", url), null);
});
