// node pictures.mjs retakes the pictures in docs/.
import { Instance, launch, open, seed } from './chronos.mjs';

const chronos = await Instance.start();
try {
  await seed(chronos);
  const browser = await launch();
  const run = (await chronos.runs('ingest.orders')).history[0].id;
  for (const [name, hash, colorScheme, height] of [['jobs', '#jobs', 'light', 620], ['job', `#jobs/ingest.orders?run=${encodeURIComponent(run)}&file=stdout`, 'dark', 640]]) {
    const page = await open(browser, chronos.url + hash, { viewport: { width: 1180, height }, colorScheme });
    await page.locator(name === 'jobs' ? '.space .row' : '.log-panel .badge').first().waitFor();
    await page.waitForTimeout(1000);
    await page.screenshot({ path: new URL(`../../docs/ui-${name}.png`, import.meta.url).pathname });
  }
  await browser.close();
} finally {
  await chronos.stop();
}
