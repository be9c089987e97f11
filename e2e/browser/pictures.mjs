// node pictures.mjs retakes the pictures in docs/, and those of every page in both schemes, wide and narrow, in screenshots/.
import { mkdir } from 'node:fs/promises';
import { everyPage, Instance, launch, open, seed, visit } from './chronos.mjs';

const shots = new URL('screenshots/', import.meta.url).pathname;
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
  await mkdir(shots, { recursive: true });
  const pages = Object.entries(await everyPage(chronos));
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1440, 900], [390, 844]]) {
      const page = await open(browser, chronos.url, { colorScheme, viewport: { width, height } });
      for (const [name, hash] of pages) {
        await visit(page, hash);
        await page.screenshot({ path: `${shots}${name}-${colorScheme}-${width}.png` });
      }
      await page.context().close();
    }
  }
  await browser.close();
} finally {
  await chronos.stop();
}
