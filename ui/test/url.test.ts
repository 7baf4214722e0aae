import assert from "node:assert/strict";
import { test } from "node:test";
import { autoStep, defaults, graphLink, readState, writeState, type QueryState } from "../app/state/url";

test("links of Prometheus 2 open", () => {
  const state = readState("?g0.expr=up&g0.tab=1&g0.stacked=1&g0.range_input=2h&g0.moment_input=2024-03-01%2010%3A00%3A00&g0.step_input=15");
  assert.deepEqual(state, {
    ...defaults,
    expressions: ["up"],
    tab: "table",
    rangeMs: 7_200_000,
    endMs: Date.UTC(2024, 2, 1, 10),
    stepMs: 15_000,
    display: "stacked",
  } satisfies QueryState);
});

test("links of Prometheus 3 open", () => {
  const state = readState(
    "?g0.expr=sum%28rate%28a%5B5m%5D%29%29&g0.show_tree=0&g0.tab=graph&g0.end_input=2026-01-02%2003%3A04%3A05&g0.moment_input=2026-01-02%2003%3A04%3A05" +
      "&g0.range_input=1d&g0.res_type=auto&g0.res_density=high&g0.display_mode=lines&g0.show_exemplars=0&g1.expr=b&g1.tab=table&g1.range_input=5m",
  );
  assert.deepEqual(state.expressions, ["sum(rate(a[5m]))", "b"]);
  assert.equal(state.tab, "graph");
  assert.equal(state.rangeMs, 86_400_000);
  assert.equal(state.endMs, Date.UTC(2026, 0, 2, 3, 4, 5));
  assert.equal(state.stepMs, null);
});

test("a fixed resolution is kept", () => {
  assert.equal(readState("?g0.expr=a&g0.res_type=fixed&g0.res_step=10").stepMs, 10_000);
  assert.equal(readState("?g0.expr=a&g0.res_type=custom&g0.res_step=0.5").stepMs, 500);
});

test("a state survives its own link", () => {
  const state: QueryState = {
    expressions: ['a{b="c&d=e#"}', "rate(x[5m]) > 1", ""],
    tab: "table",
    rangeMs: 5_400_000,
    endMs: Date.UTC(2026, 5, 7, 8, 9, 10),
    stepMs: 2500,
    display: "stacked",
    split: true,
    refreshMs: 10_000,
  };
  assert.deepEqual(readState(writeState(state)), state);
  assert.deepEqual(readState(writeState(defaults)), defaults);
});

test("nonsense falls back to what is usual", () => {
  const state = readState("?g0.expr=up&g0.range_input=soon&g0.end_input=never&g0.step_input=-4&refresh=x&g0.tab=7");
  assert.deepEqual(state, { ...defaults, expressions: ["up"] });
  assert.deepEqual(readState(""), defaults);
});

test("a gap in the panels ends them", () => {
  assert.deepEqual(readState("?g0.expr=a&g2.expr=c").expressions, ["a"]);
});

test("a link to an expression is relative to the mount", () => {
  assert.equal(graphLink("up == 0"), "query?g0.expr=up+%3D%3D+0&g0.tab=graph&g0.range_input=1h");
});

test("steps give about one point for two pixels, in round numbers, and stay under the API's limit", () => {
  assert.equal(autoStep(3_600_000, 1200), 10_000);
  assert.equal(autoStep(300_000, 1200), 1000);
  assert.equal(autoStep(7 * 86_400_000, 1200), 1_800_000);
  for (const range of [60_000, 3_600_000, 86_400_000, 400 * 86_400_000, 4000 * 86_400_000]) {
    for (const width of [0, 300, 1920, 100_000]) {
      const points = range / autoStep(range, width);
      assert.ok(points <= 5050, `${range} ${width}: ${points}`);
    }
  }
});
