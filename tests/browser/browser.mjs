// A real browser on the server the environment names, and what every page must be free of.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

/** The server under test. */
export const url = (process.env.BAROGRAPH_URL ?? '').replace(/\/$/, '');
assert.ok(url, 'BAROGRAPH_URL names the server');

const shots = process.env.BAROGRAPH_SCREENSHOTS || mkdtempSync(join(tmpdir(), 'barograph-shots-'));
mkdirSync(shots, { recursive: true });

/** The colours of series, light and dark, and the least count of columns a line covers. */
export const light = ['#394FD8', '#984B16', '#53A367', '#E758C0', '#402584', '#A568F9', '#700048', '#73548A'];
export const dark = ['#6CF6FD', '#F88F4F', '#57B1A0', '#B93780', '#396FC8', '#B180FC', '#F6EAA4', '#9C7C0B'];

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A browser with a profile of its own. */
export const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args: flags });

/**
 * Runs `use` with a fresh page, and fails if the page wrote an error, broke its content policy, threw, or asked for
 * something that was not there.
 */
export async function withPage(options, use) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    colorScheme: 'light',
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  });
  const complaints = [];
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on('console', (message) => message.type() === 'error' && complaints.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(`thrown: ${error.stack ?? error}`));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    const asked = request.url();
    if (!asked.startsWith(url) && !asked.startsWith('data:') && !asked.startsWith('blob:')) complaints.push(`asked elsewhere: ${asked}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400 && !expected.has(response.status())) complaints.push(`${response.status()} ${response.url()}`);
  });
  const expected = new Set(options.expectedStatuses ?? []);
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => {
      window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  try {
    const result = await use(page);
    complaints.push(...(await page.evaluate(() => window.violations)));
    const serious = complaints.filter((one) => !(expected.size && one.startsWith('console: Failed to load resource')));
    assert.deepEqual(serious, [], 'the page has nothing to complain of');
    return result;
  } catch (error) {
    await page.screenshot({ path: join(shots, `failed-${Date.now()}.png`) }).catch(() => {});
    error.message += `\ncomplaints: ${complaints.join('\n')}\nscreenshots: ${shots}`;
    throw error;
  } finally {
    await context.close();
  }
}

/** Keeps what the page looks like. */
export async function shoot(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** How many columns of the first chart hold a pixel of one of `colors`: a drawn line covers many. */
export function drawnColumns(page, colors = light) {
  return page.evaluate((wanted) => {
    const canvas = document.querySelector('[data-testid=chart] canvas');
    if (!canvas || canvas.width === 0) return 0;
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    const rgb = wanted.map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
    let columns = 0;
    for (let x = 0; x < width; x++) {
      let found = false;
      for (let y = 0; y < height && !found; y++) {
        const at = (y * width + x) * 4;
        found = data[at + 3] > 200 && rgb.some((one) => one.every((channel, k) => Math.abs(channel - data[at + k]) < 24));
      }
      columns += found ? 1 : 0;
    }
    return columns;
  }, colors);
}

/** Waits until a line covers at least `least` columns; the count. */
export async function waitForLine(page, least, colors = light) {
  const end = Date.now() + 15_000;
  let columns = 0;
  while (Date.now() < end) {
    columns = await drawnColumns(page, colors);
    if (columns >= least) return columns;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`a line covers ${columns} columns, not ${least}`);
}

/** The field to type into: a plain one at first, then the editor in its place. */
function expressionField(page) {
  return page.locator('[data-testid=expression]:visible').first();
}

/** Types into the expression field, whichever kind it is at that moment, and runs it. */
export async function ask(page, expression) {
  // The editor may take the field's place at any moment: then the click goes there.
  for (let tries = 0; tries < 10; tries++) {
    const clicked = await expressionField(page).click({ timeout: 1000 }).then(() => true, () => false);
    if (clicked) break;
  }
  await page.keyboard.press('Control+A');
  await page.keyboard.type(expression);
  // Completion may be open: Escape closes it, so that Enter runs.
  await page.keyboard.press('Escape');
  await page.getByTestId('run').click();
}
