// Axe, which knows what users of assistive tools need, checks each page in light and dark, wide and narrow.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdir, readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { everyPage, Instance, launch, open, seed, visit } from './chronos.mjs';

const shots = new URL('screenshots/', import.meta.url).pathname;
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser;

before(async () => {
  browser = await launch();
  await mkdir(shots, { recursive: true });
});
after(() => browser?.close());

test('pages have no serious accessibility flaws; screenshots are taken', async () => {
  const own = await Instance.start();
  try {
    await seed(own);
    const pages = await everyPage(own);
    for (const colorScheme of ['light', 'dark']) {
      for (const width of [1440, 390]) {
        const page = await open(browser, own.url, { colorScheme, viewport: { width, height: width === 390 ? 844 : 900 }, bypassCSP: true, deviceScaleFactor: 1 });
        await page.waitForSelector('.tile');
        await page.evaluate(axe);
        for (const [name, hash] of Object.entries(pages)) {
          await visit(page, hash);
          await page.screenshot({ path: `${shots}${name}-${colorScheme}-${width}.png` });
          const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
          const serious = found.violations.filter(v => v.impact === 'serious' || v.impact === 'critical');
          assert.deepEqual(serious.map(v => `${name} ${colorScheme} ${width}: ${v.id}: ${v.nodes.slice(0, 3).map(n => n.html + ' ' + n.failureSummary).join('\n')}`), []);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${name} at ${width} is ${wide} px too wide`);
        }
        assert.deepEqual(page.wrong, []);
        await page.context().close();
      }
    }
  } finally {
    await own.stop();
  }
});
