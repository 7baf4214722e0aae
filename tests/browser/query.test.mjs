// The query page: an expression typed, a line drawn, a link followed. The server scrapes `wave{shard}` twice a second
// and a series whose label tries to be markup.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { ask, browser, dark, drawnColumns, light, shoot, url, waitForLine, withPage } from './browser.mjs';

after(() => browser.close());

test('a typed expression becomes a line, and a shared link shows the same', async () => {
  const link = await withPage({}, async (page) => {
    await page.goto(`${url}/query`);
    await ask(page, 'wave{shard="a"}');
    await page.waitForURL(/g0\.expr=wave/);
    await page.getByTestId('range').click();
    await page.getByRole('button', { name: '5m', exact: true }).click();
    await waitForLine(page, 10, [light[0]]);
    await shoot(page, 'query-typed');
    await page.getByTestId('share').click();
    await page.getByTestId('share').getByText('Copied').waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  });
  assert.match(link, /^http.*\/query\?.*g0\.expr=wave.*g0\.range_input=5m.*g0\.end_input=/);

  const look = (options) =>
    withPage(options, async (page) => {
      await page.goto(link);
      const columns = await waitForLine(page, 10, [light[0]]);
      const image = await page.evaluate(() => document.querySelector('[data-testid=chart] canvas').toDataURL());
      const legend = await page.getByTestId('legend').innerText();
      await shoot(page, 'query-shared');
      return { columns, image, legend };
    });
  const first = await look({});
  const second = await look({});
  assert.match(first.legend, /1 series/);
  assert.equal(first.legend, second.legend, 'the same figures');
  assert.equal(first.image, second.image, 'the same pixels');
});

test('several series have several colours, in the dark too', async () => {
  const path = '/query?g0.expr=wave&g0.range_input=30s';
  await withPage({}, async (page) => {
    await page.goto(url + path);
    for (const color of light.slice(0, 3)) await waitForLine(page, 100, [color]);
    assert.equal(await page.getByTestId('footing').getAttribute('data-series'), '3');
    await shoot(page, 'query-light');
  });
  await withPage({ colorScheme: 'dark' }, async (page) => {
    await page.goto(url + path);
    for (const color of dark.slice(0, 3)) await waitForLine(page, 100, [color]);
    await shoot(page, 'query-dark');
  });
});

test('an old link of Prometheus opens', async () => {
  await withPage({}, async (page) => {
    await page.goto(`${url}/graph?g0.expr=wave%7Bshard%3D%22b%22%7D&g0.tab=0&g0.range_input=1m`);
    await waitForLine(page, 50, [light[0]]);
    assert.match(page.url(), /\/query\?/);
  });
});

test('a table shows the values', async () => {
  await withPage({}, async (page) => {
    await page.goto(`${url}/query?g0.expr=constant&g0.tab=table`);
    await page.getByRole('cell', { name: '42', exact: false }).first().waitFor();
    await shoot(page, 'query-table');
  });
});

test('an error points to its place', async () => {
  await withPage({ expectedStatuses: [400] }, async (page) => {
    await page.goto(`${url}/query`);
    await ask(page, 'rate(wave)');
    await page.getByText('range vector', { exact: false }).first().waitFor();
    await shoot(page, 'query-error');
    assert.equal(await drawnColumns(page), 0);
    // And the way back.
    await page.goto(`${url}/query?g0.expr=wave&g0.range_input=30s`);
    await waitForLine(page, 100);
  });
});

test('a label that tries to be markup stays text', async () => {
  await withPage({}, async (page) => {
    for (const tab of ['graph', 'table']) {
      await page.goto(`${url}/query?g0.expr=hostile&g0.range_input=1m&g0.tab=${tab}`);
      await page.getByText('<img src=x onerror=alert(1)>', { exact: false }).first().waitFor();
      assert.equal(await page.locator('img[src="x"]').count(), 0);
    }
    await shoot(page, 'query-hostile');
    await page.goto(`${url}/targets`);
    await page.getByTestId('target').first().waitFor();
    assert.equal(await page.locator('img[src="x"]').count(), 0);
  });
});

test('completion knows the names of the server', async () => {
  await withPage({}, async (page) => {
    await page.goto(`${url}/query?g0.expr=constant&g0.range_input=1m`);
    await waitForLine(page, 10);
    await page.locator('.cm-content').waitFor();
    await page.locator('.cm-content').click();
    await page.keyboard.press('Control+A');
    await page.keyboard.type('wav', { delay: 60 });
    await page.locator('.cm-tooltip-autocomplete').getByText('wave', { exact: true }).first().waitFor();
    await shoot(page, 'query-completion');
  });
});
