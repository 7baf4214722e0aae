import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSample, positionIn, seriesText, toColumns, toRows } from "../app/api/decode";

const grid = { start: 100, end: 140, step: 10 };

test("a matrix lands on its grid and gaps stay gaps", () => {
  const { times, lines } = toColumns(
    {
      resultType: "matrix",
      result: [{ metric: { __name__: "a" }, values: [[100, "1"], [120, "3.5"], [140, "-2e3"], [150, "9"]] }],
    },
    grid,
  );
  assert.deepEqual(times, [100, 110, 120, 130, 140]);
  assert.deepEqual(lines[0]!.values, [1, null, 3.5, null, -2000]);
});

test("steps that are no binary fraction keep their points", () => {
  const fine = { start: 1_700_000_000, end: 1_700_000_001, step: 0.1 };
  const values = Array.from({ length: 11 }, (_, index): [number, string] => [1_700_000_000 + index / 10, String(index)]);
  const { lines } = toColumns({ resultType: "matrix", result: [{ metric: {}, values }] }, fine);
  assert.deepEqual(lines[0]!.values, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

test("values that cannot be drawn are gaps, infinities counted", () => {
  const { lines } = toColumns(
    { resultType: "matrix", result: [{ metric: {}, values: [[100, "NaN"], [110, "+Inf"], [120, "-Inf"], [130, "0"]] }] },
    grid,
  );
  assert.deepEqual(lines[0]!.values, [null, null, null, 0, null]);
  assert.equal(lines[0]!.infinite, 2);
});

test("a native histogram is drawn as its sum", () => {
  const { lines, histograms } = toColumns(
    { resultType: "matrix", result: [{ metric: {}, histograms: [[110, { count: "3", sum: "7.5" }]] }] },
    grid,
  );
  assert.equal(histograms, 1);
  assert.equal(lines[0]!.values[1], 7.5);
});

test("rows of every result type", () => {
  assert.deepEqual(toRows({ resultType: "scalar", result: [1, "2"] }), [{ labels: {}, text: "2", sort: 2 }]);
  assert.equal(toRows({ resultType: "string", result: [1, "hello"] })[0]!.text, "hello");
  const vector = toRows({ resultType: "vector", result: [{ metric: { a: "b" }, value: [1, "+Inf"] }] });
  assert.deepEqual(vector, [{ labels: { a: "b" }, text: "+Inf", sort: Infinity }]);
  const native = toRows({
    resultType: "vector",
    result: [{ metric: {}, histogram: [1, { count: "4", sum: "9", buckets: [[0, "1", "2", "3"], [3, "-0.5", "0.5", "1"]] }] }],
  });
  assert.equal(native[0]!.text, "count 4, sum 9; (1, 2]: 3; [-0.5, 0.5]: 1");
  const range = toRows({ resultType: "matrix", result: [{ metric: {}, values: [[1, "2"], [3, "4"]] }] });
  assert.deepEqual(range[0]!.samples, [[1, "2"], [3, "4"]]);
});

test("series are written as PromQL takes them", () => {
  assert.equal(seriesText({ __name__: "up" }), "up");
  assert.equal(seriesText({ __name__: "up", job: "a" }), 'up{job="a"}');
  assert.equal(seriesText({ job: 'say "hi"\n\\' }), '{job="say \\"hi\\"\\n\\\\"}');
  assert.equal(seriesText({ __name__: "my.metric", "a.b": "c" }), '{"my.metric", "a.b"="c"}');
  assert.equal(seriesText({}), "{}");
});

test("sample values are the API's spellings", () => {
  assert.equal(parseSample("+Inf"), Infinity);
  assert.equal(parseSample("-Inf"), -Infinity);
  assert.ok(Number.isNaN(parseSample("NaN")));
  assert.equal(parseSample("1e+06"), 1e6);
});

test("positions are found in errors and notes", () => {
  assert.deepEqual(positionIn('invalid parameter "query": 2:26: parse error: unclosed left parenthesis'), { line: 2, column: 26 });
  assert.deepEqual(positionIn("1:5: parse error: no"), { line: 1, column: 5 });
  assert.deepEqual(positionIn('PromQL info: metric might not be a counter: "up" (1:6)'), { line: 1, column: 6 });
  assert.equal(positionIn("query timed out at 10:15 today"), null);
});
