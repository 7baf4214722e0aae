// Pictures of every page in both themes, with a list of what the console and the policy complained about.
// `BAROGRAPH_URL=… node scripts/shots.mjs <folder> [name …]` after `npm run build`.
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const [folder = ".tmp/shots", ...only] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const server = process.env.BAROGRAPH_URL ?? "http://127.0.0.1:9090";
// SITE names a server that serves its own pages.
const site = process.env.SITE
  ? { url: process.env.SITE, close: () => {} }
  : await serve({ server, base: process.env.BASE ?? "/" });
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

const q = (expressions, more = "") =>
  `query?${expressions.map((one, index) => `g${index}.expr=${encodeURIComponent(one)}`).join("&")}&g0.tab=graph&g0.range_input=15m${more}`;
const shots = {
  start: { path: "", ready: '[data-testid="example"]' },
  graph: { path: q(['rate(node_cpu_seconds_total{mode!="idle"}[1m])']), ready: ".u-over", act: hover },
  two: { path: q(["process_resident_memory_bytes", "go_memstats_heap_inuse_bytes", "node_memory_MemAvailable_bytes"], "&split=1"), ready: ".u-over" },
  stacked: { path: q(['sum by (mode) (rate(node_cpu_seconds_total[1m]))'], "&g0.display_mode=stacked"), ready: ".u-over", act: hover },
  crowded: { path: q(['{__name__=~"node_.*"}']), ready: ".u-over" },
  table: { path: q(["node_filesystem_avail_bytes"]).replace("tab=graph", "tab=table"), ready: '[data-testid="table"]' },
  error: { path: q(["sum(rate(up[5m])) by (job", "rate(up[5m])"]), ready: '[data-testid="query-error"]' },
  complete: { path: q([""]), ready: ".cm-editor", act: typeName },
  range: { path: q(["up"]), ready: ".u-over", act: (page) => page.click('[data-testid="range"]') },
  targets: { path: "targets", ready: '[data-testid="targets"]' },
  alerts: { path: "alerts", ready: '[data-testid="alerts"]', act: (page) => page.waitForTimeout(300) },
  status: { path: "status", ready: '[data-testid="status"]' },
  phone: { path: q(["node_load1"]), ready: ".u-over", width: 390, height: 780 },
  phonetargets: { path: "targets", ready: '[data-testid="targets"]', width: 390, height: 780 },
};

let complaints = 0;
for (const theme of ["light", "dark"]) {
  for (const [name, shot] of Object.entries(shots)) {
    if (only.length > 0 && !only.includes(name)) continue;
    const context = await browser.newContext({
      viewport: { width: shot.width ?? 1360, height: shot.height ?? 850 },
      colorScheme: theme,
    });
    const page = await context.newPage();
    const complain = (text) => {
      complaints++;
      console.log(`${theme} ${name}: ${text}`);
    };
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !/status of 4\d\d/.test(message.text())) complain(message.text());
    });
    page.on("pageerror", (error) => complain(error.stack ?? String(error)));
    const started = Date.now();
    await page.goto(site.url + shot.path);
    try {
      await page.waitForSelector(shot.ready, { timeout: 8000 });
      const tookMs = Date.now() - started;
      await page.waitForTimeout(500);
      await shot.act?.(page);
      await page.waitForTimeout(200);
      console.log(`${theme} ${name}: ready after ${tookMs} ms`);
    } catch (error) {
      complain(String(error).split("\n")[0]);
    }
    await page.screenshot({ path: `${folder}/${name}-${theme}.png` });
    await context.close();
  }
}
await browser.close();
site.close();
process.exitCode = complaints > 0 ? 1 : 0;

async function hover(page) {
  const box = await page.locator(".u-over").first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.8, box.y + box.height * 0.5);
}

async function typeName(page) {
  await page.click(".cm-content");
  await page.keyboard.type("sum(rate(node_cpu");
  await page.waitForTimeout(1200);
}
