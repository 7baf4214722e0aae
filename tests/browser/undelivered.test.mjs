// The page of alerts where the receiver refuses every notification.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { browser, shoot, url, withPage } from './browser.mjs';

after(() => browser.close());

test('a refused notification is said with its reason', async () => {
  await withPage({}, async (page) => {
    await page.goto(`${url}/alerts`);
    const notice = page.getByTestId('delivery-failure').first();
    await notice.waitFor();
    assert.match(await notice.innerText(), /webhook.*418/s);
    await shoot(page, 'alerts-undelivered');
  });
});
