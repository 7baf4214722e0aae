// The pages of targets and alerts. The server has one target up and one down, one rule firing and one at rest.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { browser, shoot, url, waitForLine, withPage } from './browser.mjs';

after(() => browser.close());

for (const colorScheme of ['light', 'dark']) {
  test(`targets, ${colorScheme}`, async () => {
    await withPage({ colorScheme }, async (page) => {
      await page.goto(`${url}/targets`);
      await page.locator('[data-testid=target][data-health=up]').first().waitFor();
      await page.locator('[data-testid=target][data-health=down]').first().waitFor();
      const error = await page.getByTestId('target-error').first().innerText();
      assert.match(error, /refused/);
      await shoot(page, `targets-${colorScheme}`);
    });
  });

  test(`alerts, ${colorScheme}`, async () => {
    await withPage({ colorScheme }, async (page) => {
      await page.goto(`${url}/alerts`);
      const alert = page.locator('[data-testid=alert][data-state=firing]').first();
      await alert.waitFor();
      const text = await alert.innerText();
      assert.match(text, /constant is 42/);
      await page.locator('[data-testid=rule][data-state=inactive]').first().waitFor();
      await page.waitForTimeout(1500);
      assert.equal(await page.getByTestId('delivery-failure').count(), 0, 'the notification was taken');
      await shoot(page, `alerts-${colorScheme}`);
    });
  });
}

test('from a rule to its graph, by the pages alone', async () => {
  await withPage({}, async (page) => {
    await page.goto(url);
    await page.getByRole('link', { name: 'Alerts' }).click();
    await page.getByTestId('rule-graph').first().click();
    await page.waitForURL(/query\?g0\.expr=constant/);
    await waitForLine(page, 2);
  });
});

test('a phone is wide enough', async () => {
  await withPage({ viewport: { width: 320, height: 640 } }, async (page) => {
    for (const name of ['query?g0.expr=wave&g0.range_input=1m', 'targets', 'alerts']) {
      await page.goto(`${url}/${name}`);
      await page.locator('main h1, [data-testid]').first().waitFor();
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wider <= 0, `${name} is ${wider} px too wide`);
      await shoot(page, `phone-${name.split('?')[0]}`);
    }
  });
});
