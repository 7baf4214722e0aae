// A server nobody configured: its first page draws what it has scraped by itself.
import { after, test } from 'node:test';
import { browser, shoot, url, waitForLine, withPage } from './browser.mjs';

after(() => browser.close());

test('the first page draws the host', async () => {
  await withPage({}, async (page) => {
    await page.goto(url);
    await page.waitForURL(/\/query/);
    await waitForLine(page, 3);
    await shoot(page, 'start');
  });
});
