// What only a browser shows: links, typing, zoom, keyboard, hostile labels, policy, accessibility, under a prefix.
// `BAROGRAPH_URL=… npm run browser` after `npm run build`. The server should scrape node_exporter and itself.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const hostile = '<img src=x onerror="document.title=1">{{x}}</script>';
const now = () => Math.floor(Date.now() / 1000);

/** Answers that a real server seldom gives. */
function intercept(path, url) {
  if (path === "api/v1/notifications/deliveries") {
    return { body: { status: "success", data: [{ receiver: "pager", error: "connection refused", attempts: 4 }] } };
  }
  if (path === "api/v1/query_range" && url.searchParams.get("stub") === null && stub) {
    return { body: stub };
  }
  return undefined;
}
let stub = null;

const site = await serve({ server: process.env.BAROGRAPH_URL ?? "http://127.0.0.1:9090", base: "/a/b/", intercept });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const complaints = [];

async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  page.on("pageerror", (error) => complaints.push(`${path}: ${error.stack}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) complaints.push(`${path}: ${message.text()}`);
  });
  await page.goto(site.url + path);
  return page;
}

async function check(name, run) {
  const started = Date.now();
  try {
    await run();
    assert.deepEqual(complaints.splice(0), []);
    console.log(`ok   ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    complaints.length = 0;
    process.exitCode = 1;
    console.log(`FAIL ${name}: ${error.stack}`);
  } finally {
    stub = null;
    await Promise.all(browser.contexts().map((context) => context.close()));
  }
}

const graphOf = (expression, more = "") => `query?g0.expr=${encodeURIComponent(expression)}&g0.tab=graph&g0.range_input=15m${more}`;

await check("the first page draws what is recorded, and a click leads to its graph", async () => {
  const page = await open("");
  await page.waitForSelector('[data-testid="example"] canvas');
  assert.match(page.url(), /\/a\/b\/query$/);
  await page.click('[data-testid="example"]');
  await page.waitForSelector('[data-testid="legend"]');
  assert.match(page.url(), /g0\.expr=.*refresh=5s/);
});

await check("typing an expression and Enter draws a line", async () => {
  const page = await open("query");
  await page.waitForSelector(".cm-content");
  await page.click(".cm-content");
  await page.keyboard.type("scrape_duration_seconds", { delay: 5 });
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-testid="legend"]');
  assert.match(page.url(), /g0\.expr=scrape_duration_seconds/);
  const drawn = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colors = new Set();
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] === 255) colors.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
    }
    return colors.has(0x394fd8);
  });
  assert.ok(drawn, "no line in the first colour");
  await page.goBack();
  await page.waitForSelector('[data-testid="start"]');
});

await check("without the editor's code the text field works", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.route(/editor-.*\.js/, (route) => route.abort());
  await page.goto(`${site.url}query`);
  await page.fill("textarea", "up");
  await page.press("textarea", "Enter");
  await page.waitForSelector('[data-testid="legend"]');
});

await check("old links open, and their range is in the answer", async () => {
  const page = await open(`graph?g0.expr=up&g0.tab=1&g0.range_input=2h&g0.moment_input=${encodeURIComponent(new Date(Date.now() - 60_000).toISOString().slice(0, 19).replace("T", " "))}`);
  await page.waitForSelector('[data-testid="table"]');
  assert.match(page.url(), /\/a\/b\/query\?/);
  assert.equal(await page.getAttribute('[data-testid="tab-table"]', "aria-selected"), "true");
});

await check("a drag zooms, a double click widens", async () => {
  const page = await open(graphOf("up"));
  await page.waitForSelector(".u-over");
  const box = await page.locator(".u-over").boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.5, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, y, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/end_input/);
  const range = /range_input=(\d+)m/.exec(page.url());
  assert.ok(range && (range[1] === "2" || range[1] === "3"), page.url());
  await page.waitForTimeout(300);
  const before = page.url();
  await page.mouse.dblclick(box.x + box.width * 0.3, y);
  await page.waitForFunction((old) => location.href !== old, before);
});

await check("a drag with Shift moves the graph, and the link says where to", async () => {
  const page = await open(graphOf("up"));
  await page.waitForSelector(".u-over");
  const box = await page.locator(".u-over").boundingBox();
  await page.keyboard.down("Shift");
  await page.mouse.move(box.x + 300, box.y + 80);
  await page.mouse.down();
  await page.mouse.move(box.x + 300 + box.width / 3, box.y + 80, { steps: 4 });
  await page.mouse.up();
  await page.keyboard.up("Shift");
  await page.waitForURL(/range_input=15m.*end_input/);
  const end = new URL(page.url()).searchParams.get("g0.end_input");
  const backSeconds = Date.now() / 1000 - Date.parse(`${end.replace(" ", "T")}Z`) / 1000;
  assert.ok(Math.abs(backSeconds - 300) < 20, `${backSeconds}`);
});

await check("a server that goes away leaves what was seen, and says so", async () => {
  const page = await open(graphOf("up", "&refresh=1s"));
  await page.waitForSelector('[data-testid="legend"]');
  await page.route(/query_range/, (route) => route.abort());
  await page.waitForSelector('[data-testid="query-error"]');
  assert.equal(await page.locator('[data-testid="legend"]').count(), 1);
  await page.unroute(/query_range/);
  await page.waitForFunction(() => document.querySelector('[data-testid="query-error"]') === null);
  complaints.length = 0;
});

await check("arrow keys move the cursor and its values are said", async () => {
  const page = await open(graphOf("up"));
  await page.waitForSelector(".u-over");
  await page.focus('[data-testid="chart"]');
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowLeft");
  await page.waitForSelector('[data-testid="cursor"]');
  assert.match(await page.textContent('[data-testid="chart"] [aria-live]'), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: .*up/);
});

await check("a click in the legend shows one series, Ctrl-click toggles", async () => {
  const page = await open(graphOf("up"));
  const names = page.locator(".legend-name");
  await names.first().waitFor();
  const count = await names.count();
  assert.ok(count > 1);
  await names.nth(1).click();
  assert.equal(await page.locator(".legend tr.off").count(), count - 1);
  await names.nth(0).click({ modifiers: ["Control"] });
  assert.equal(await page.locator(".legend tr.off").count(), count - 2);
  await page.click(".legend .link");
  assert.equal(await page.locator(".legend tr.off").count(), 0);
});

await check("completion offers metrics of the server and the linter marks mistakes", async () => {
  const page = await open("query");
  await page.waitForSelector(".cm-content");
  await page.click(".cm-content");
  await page.keyboard.type("scrape_dur", { delay: 30 });
  await page.waitForSelector('.cm-tooltip-autocomplete li:has-text("scrape_duration_seconds")');
  await page.keyboard.press("Enter");
  await page.keyboard.type("{job=", { delay: 30 });
  await page.keyboard.type('"', { delay: 30 });
  await page.waitForSelector(".cm-tooltip-autocomplete li");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("rate(up) + 1", { delay: 20 });
  await page.keyboard.press("Escape");
  await page.waitForSelector(".cm-lintRange-error");
});

await check("an error shows its place, and the rest still draws", async () => {
  const page = await open(`${graphOf("sum(up")}&g1.expr=up`);
  await page.waitForSelector('[data-testid="query-error"] .pointer');
  await page.waitForSelector('[data-testid="legend"]');
});

await check("hostile labels and names stay text, on every page", async () => {
  const values = Array.from({ length: 20 }, (_, index) => [now() - 600 + index * 30, String(index)]);
  stub = {
    status: "success",
    data: { resultType: "matrix", result: [1, 2].map((n) => ({ metric: { __name__: hostile, n: hostile + n }, values })) },
    warnings: [hostile],
  };
  const page = await open(graphOf("up"));
  await page.waitForSelector('[data-testid="legend"]');
  const box = await page.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 100);
  await page.waitForSelector('[data-testid="cursor"]');
  assert.equal(await page.locator("main img").count(), 0);
  assert.ok((await page.textContent("main")).includes("<img src=x"));
  assert.notEqual(await page.title(), "1");
});

await check("a thousand series are cut to the largest, and can all be drawn", async () => {
  const times = Array.from({ length: 450 }, (_, index) => now() - 900 + index * 2);
  stub = {
    status: "success",
    data: {
      resultType: "matrix",
      result: Array.from({ length: 1000 }, (_, n) => ({ metric: { n: String(n) }, values: times.map((t) => [t, String(n + Math.sin(t / 50))]) })),
    },
  };
  const page = await open(graphOf("up"));
  await page.waitForSelector('[data-testid="crowded"]');
  assert.equal(await page.locator(".legend-name").count(), 20);
  await page.click('[data-testid="crowded"] .link');
  await page.waitForFunction(() => document.querySelectorAll(".legend-name").length === 1000);
});

await check("the range panel takes relative and fixed times", async () => {
  const page = await open(graphOf("up"));
  await page.click('[data-testid="range"]');
  await page.fill('[data-testid="range-from"]', "now-2h");
  await page.keyboard.press("Enter");
  await page.waitForURL(/range_input=2h(?!.*end_input)/);
  await page.click('[data-testid="range"]');
  await page.fill('[data-testid="range-from"]', "nonsense");
  await page.keyboard.press("Enter");
  await page.waitForSelector('.range-panel [role="alert"]');
  await page.fill('[data-testid="range-from"]', "2026-01-01 00:00");
  await page.fill('[data-testid="range-to"]', "2026-01-01 06:00");
  await page.keyboard.press("Enter");
  await page.waitForURL(/range_input=6h.*end_input=2026-01-01/);
  await page.waitForSelector('[data-testid="no-data"]');
});

await check("targets filter by health and words; failed deliveries are shown", async () => {
  const page = await open("targets");
  await page.waitForSelector('[data-testid="target"]');
  const all = await page.locator('[data-testid="target"]').count();
  await page.click('[data-testid="filter-up"]');
  assert.equal(await page.locator('[data-testid="target"]:not([data-health="up"])').count(), 0);
  await page.click('[data-testid="filter-all"]');
  await page.fill('[data-testid="search"]', "no such target anywhere");
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="target"]').length === 0);
  assert.ok(all > 0);
  await page.click('a:has-text("Alerts")');
  await page.waitForSelector('[data-testid="delivery-failure"]');
});

await check("colours follow the device and the switch", async () => {
  const page = await open("targets", { colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.waitForSelector('[data-testid="theme"]');
  assert.equal(await ground(), "rgb(15, 18, 22)");
  await page.click('[data-testid="theme"]');
  assert.equal(await ground(), "rgb(246, 247, 249)");
  await page.reload();
  await page.waitForSelector('[data-testid="theme"]');
  assert.equal(await ground(), "rgb(246, 247, 249)");
});

for (const colorScheme of ["light", "dark"]) {
  for (const [path, ready] of [
    ["query", '[data-testid="example"] canvas'],
    [graphOf("up"), '[data-testid="legend"]'],
    [`${graphOf("sum(up")}&g1.expr=rate(up[5m])`, '[data-testid="query-info"]'],
    [graphOf("up").replace("tab=graph", "tab=table"), '[data-testid="table"]'],
    ["targets", '[data-testid="target"]'],
    ["alerts", '[data-testid="alerts"]'],
    ["status", '[data-testid="status"]'],
  ]) {
    await check(`axe finds nothing, ${colorScheme}, ${path.slice(0, 40)}`, async () => {
      const page = await open(path, { colorScheme });
      await page.waitForSelector(ready);
      await page.waitForTimeout(500);
      await page.evaluate(axeSource);
      const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      const texts = found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 260)}`).join(" | ")}`);
      assert.deepEqual(texts, []);
    });
  }
}

await check("at 320 px nothing is cut off", async () => {
  for (const path of ["query", graphOf("up"), "targets", "alerts", "status"]) {
    const page = await open(path, { viewport: { width: 320, height: 640 } });
    await page.waitForTimeout(700);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${path} is ${over} px too wide`);
  }
});

await browser.close();
site.close();
