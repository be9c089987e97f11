// node measure.mjs [jobs] measures how fast the interface is with many jobs. It prints figures and is not a test.
import { Instance, launch, open, until } from './chronos.mjs';

const n = Number(process.argv[2] ?? 20000);
const chronos = await Instance.start();
const median = list => list.sort((a, b) => a - b)[list.length >> 1];
const high = list => list.sort((a, b) => a - b)[Math.floor(list.length * 0.95)];
const say = (what, value, unit) => console.log(`${what.padEnd(62)} ${typeof value === 'number' ? value.toFixed(1) : value} ${unit ?? ''}`);

async function parallel(count, each) {
  let next = 0;
  await Promise.all(Array.from({ length: 48 }, async () => { while (next < count) await each(next++); }));
}

const name = i => `team${i % 40}.pipeline${i % 700}.job-${i}`;

try {
  await parallel(n, i => i % 5 === 4
    ? until(() => chronos.put({ name: name(i), command: `python3 etl.py --shard ${i}`, parents: [name(i - 4)], ownerName: `Team ${i % 40}` }).then(() => true), 'the parent is there')
    : chronos.put({ name: name(i), command: `python3 etl.py --shard ${i}`, description: `Shard ${i} of the nightly load`, schedule: `R/${new Date(Date.now() + 864e5 + i * 1e3).toISOString()}/PT1H`, owner: `team${i % 40}@example.com`, ownerName: `Team ${i % 40}` }));
  say('jobs', n);
  for (let k = 0; k < 2; k++) {
    const start = performance.now();
    const res = await fetch(chronos.url + 'v1/scheduler/overview', { headers: { 'Accept-Encoding': 'gzip' } });
    const size = (await res.arrayBuffer()).byteLength;
    say(`overview, ${k ? 'again' : 'first'}: until its end`, performance.now() - start, `ms, ${(size / 1e6).toFixed(1)} MB plain`);
  }

  const browser = await launch();
  const page = await open(browser, chronos.url);
  const client = await page.context().newCDPSession(page);
  const heap = async () => {
    await client.send('HeapProfiler.collectGarbage');
    const { metrics } = await client.send('Performance.getMetrics');
    return metrics.find(m => m.name === 'JSHeapUsedSize').value / 1e6;
  };
  await client.send('Performance.enable', { timeDomain: 'threadTicks' });
  const work = async () => (await client.send('Performance.getMetrics')).metrics.find(m => m.name === 'TaskDuration').value * 1e3;
  for (const [what, hash, selector] of [['overview', '#overview', '.tile'], ['grid', '#grid', '.grid-row'], ['timeline', '#timeline', '.time-names a'], ['jobs', '#jobs', '.space .row']]) {
    const times = [];
    for (let k = 0; k < 5; k++) {
      await page.goto('about:blank');
      await page.goto(chronos.url + hash, { waitUntil: 'commit' });
      times.push(await page.evaluate(selector => new Promise(done => {
        const look = () => document.querySelector(selector) ? requestAnimationFrame(() => setTimeout(() => done(performance.now()))) : setTimeout(look, 1);
        look();
      }), selector));
    }
    say(`${what}: first useful paint after navigation`, median(times), 'ms (median of 5)');
  }
  say('heap with the table open', await heap(), 'MB');

  let busy = await work();
  const keys = await page.evaluate(async () => {
    const input = document.querySelector('.search'), times = [], work = [];
    const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    for (const text of ['t', 'te', 'tea', 'team', 'team1', 'team17', 'team17.', 'team17.p', 'team17.pipeline', 'team17.pipeline9', '', 'shard 1', 'shard 19', 'shard 199', '']) {
      const start = performance.now();
      input.value = text;
      input.dispatchEvent(new Event('input'));
      work.push(performance.now() - start);
      await frame();
      times.push(performance.now() - start);
    }
    return { times, work };
  });
  say('keystroke in the search: handler', median(keys.work), `ms (median), ${Math.max(...keys.work).toFixed(1)} ms at most`);
  say('keystroke in the search: until painted', median(keys.times), `ms (median), ${high(keys.times).toFixed(1)} ms for 95 %, ${Math.max(...keys.times).toFixed(1)} ms at most`);

  say('keystroke in the search: CPU of the page', (await work() - busy) / 15, 'ms (mean)');
  busy = await work();
  const scroll = await page.evaluate(async () => {
    const box = document.querySelector('.scroller'), gaps = [];
    let last = await new Promise(requestAnimationFrame);
    for (let i = 0; i < 180; i++) {
      box.scrollTop += i < 120 ? 320 : 40000;
      const now = await new Promise(requestAnimationFrame);
      gaps.push(now - last);
      last = now;
    }
    return gaps;
  });
  say('scrolling: time between frames', median([...scroll]), `ms (median), ${scroll.sort((a, b) => a - b)[Math.floor(scroll.length * 0.95)].toFixed(1)} ms for 95 %`);

  say('scrolling: CPU of the page per frame', (await work() - busy) / 180, 'ms (mean)');

  // An hour of events, four a second, as a busy leader sends.
  await page.evaluate(async () => {
    const { apply, store } = await import('./assets/live.js');
    const names = [...store.jobs.keys()];
    for (let i = 0; i < 4 * 3600; i++) {
      const rows = Array.from({ length: 5 }, (_, k) => {
        const row = store.jobs.get(names[(i * 5 + k) % names.length]);
        return { ...row, successCount: i, runs: [['s', 1.9e12 + i * 1000, 12, 3456], ...row.runs ?? []].slice(0, 10) };
      });
      apply({ data: JSON.stringify({ queued: 0, running: i % 7, subscribed: true, removed: [], jobs: rows }) });
      if (i % 200 === 199) await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    }
  });
  say('heap after an hour of events (72,000 rows)', await heap(), 'MB');
  await page.evaluate(() => { document.querySelector('.scroller').scrollTop = 0; });
  const before = performance.now();
  await chronos.put({ name: 'a.last.one', command: 'true', schedule: 'R/2040-01-01T00:00:00Z/P1D' });
  await page.waitForSelector('.space .name:text-is("a.last.one")');
  say('a change made until it shows in the table', performance.now() - before, 'ms');

  const graph = performance.now();
  await page.evaluate(() => { location.hash = '#graph'; });
  await page.waitForSelector('.graph');
  await page.evaluate(() => new Promise(done => requestAnimationFrame(() => setTimeout(done))));
  say('graph of the dependent ones: laid out and painted', performance.now() - graph, 'ms, ' + await page.locator('.count').textContent());
  await page.screenshot({ path: new URL('screenshots/many-graph.png', import.meta.url).pathname });
  for (const line of page.wrong) console.log('WRONG', line);
  await browser.close();
} finally {
  await chronos.stop();
}
