// The interface in a real browser, against the real program.
import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { mkdir, readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Instance, iso, launch, open, until } from './chronos.mjs';

const shots = new URL('screenshots/', import.meta.url).pathname;

let browser, chronos;

before(async () => {
  browser = await launch();
  chronos = await Instance.start();
  await mkdir(shots, { recursive: true });
});
after(async () => {
  await browser?.close();
  await chronos?.stop();
});

// on opens a page, calls act, and checks that nothing went wrong meanwhile.
async function on(hash, act, options) {
  const page = await open(browser, chronos.url + hash, options);
  try {
    await act(page);
    assert.deepEqual(page.wrong, []);
  } catch (err) {
    await page.screenshot({ path: shots + 'failed.png' }).catch(() => {});
    const text = await page.locator('main').innerText({ timeout: 1000 }).catch(() => 'nothing');
    throw new Error(`at ${page.url()}, which shows: ${text.slice(0, 300)}`, { cause: err });
  } finally {
    await page.context().close();
  }
}

const complaint = (page, key) => page.locator(`.field:has([data-key="${key}"]) > .complaint`);
const later = minutes => iso(Date.now() + minutes * 60e3);
const yearly = { schedule: 'R/2040-01-01T00:00:00Z/P1Y', retries: 0 };
const seen = (page, name) => page.waitForSelector(`.space .name:text-is("${name}")`);

test('a job is created, with a preview of its schedule as the user types', () => on('#new', async page => {
  await page.getByLabel('Name', { exact: true }).fill('made.here');
  await page.getByLabel('Schedule', { exact: true }).fill('R/2040-03-24T02:30:00/P1D');
  await page.getByLabel('Time zone').fill('Europe/Berlin');
  await page.locator('.preview .noted').first().waitFor();
  await page.locator('.preview').getByRole('button', { name: '5 more' }).click();
  assert.equal(await page.locator('.preview tbody tr').count(), 10);
  await page.getByLabel('Command', { exact: true }).fill('echo hello');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { level: 1, name: 'made.here', exact: true }).waitFor();
  assert.equal((await chronos.job('made.here')).command, 'echo hello');
}));

test('wrong input is explained, and nothing typed is lost', () => on('#new', async page => {
  const schedule = page.getByLabel('Schedule', { exact: true });
  await schedule.fill('R/2040-13-01T00:00:00Z/P1D');
  await complaint(page, 'schedule').waitFor();
  assert.equal(await schedule.getAttribute('aria-invalid'), 'true');
  await schedule.fill('0 6 * * 8-9');
  await until(async () => /day of week/i.test(await complaint(page, 'schedule').textContent()), 'cron is explained');
  await page.getByLabel('Name', { exact: true }).fill('bad/näme');
  await page.getByLabel('Command', { exact: true }).fill('echo precious');
  await schedule.fill('0 6 * * *');
  await page.getByRole('button', { name: 'Create' }).click();
  await until(async () => /One field needs a change/.test(await page.locator('.alert.bad').first().textContent()), 'the name is refused');
  assert.match(await complaint(page, 'name').textContent(), /letters a to z/);
  assert.equal(await page.getByLabel('Command', { exact: true }).inputValue(), 'echo precious');
  await page.reload();
  await page.getByRole('button', { name: 'Restore them' }).click();
  assert.equal(await page.getByLabel('Command', { exact: true }).inputValue(), 'echo precious');
  await page.getByRole('tab', { name: 'JSON' }).click();
  await page.getByLabel('The job as JSON').fill('{"name": oops');
  await page.getByRole('button', { name: 'Create' }).click();
  await until(async () => /can’t be read/.test(await page.locator('.alert.bad').first().textContent()), 'the JSON is refused');
  assert.equal(await page.getByLabel('The job as JSON').inputValue(), '{"name": oops');
}));

test('strange values are refused at their fields', () => on('#new', async page => {
  const wrong = label => page.getByLabel(label, { exact: true }).getAttribute('aria-invalid');
  await page.getByLabel('Name', { exact: true }).fill('strange');
  await page.getByLabel('Schedule', { exact: true }).fill('30 2 * * *');
  await page.getByLabel('Time zone').fill('Europe/Berlim');
  await until(async () => /nearest is Europe\/Berlin/.test(await complaint(page, 'scheduleTimeZone').textContent()), 'the zone is explained');
  assert.deepEqual([await wrong('Time zone'), await wrong('Schedule')], ['true', null]);
  await page.getByLabel('Retries', { exact: true }).fill('1.5');
  await page.getByRole('button', { name: 'Create' }).click();
  await until(async () => /whole number/.test(await complaint(page, 'retries').textContent()), 'the retries are explained');
  assert.match(await complaint(page, 'command').textContent(), /nothing to run/);
  assert.match(await page.locator('.alert.bad').first().textContent(), /3 fields need a change/);
  await page.getByLabel('Time zone').fill('Europe/Berlin');
  await until(async () => await wrong('Time zone') === null, 'the server has taken the zone, so that the last field is mended by typing');
  await page.getByLabel('Retries', { exact: true }).fill('1');
  await page.getByLabel('Command', { exact: true }).fill('true');
  assert.equal(await wrong('Command'), null);
  await page.locator('.alert.bad').first().waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { level: 1, name: 'strange', exact: true }).waitFor();
}));

test('an existing strange job says so, and can be disabled', async () => {
  const odd = { name: 'odd', command: 'true', ...yearly, scheduleTimeZone: 'Europe/Berlim' };
  await chronos.json('scheduler/iso8601', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(odd) });
  await on('#jobs/odd', async page => {
    await page.locator('.alert').getByText('the nearest is Europe/Berlin').waitFor();
    await page.getByRole('button', { name: 'Disable' }).click();
    await until(async () => (await chronos.job('odd')).disabled, 'it is disabled');
  });
});

test('the preview of a stored schedule continues from where it is', async () => {
  const now = new Date(), start = `${now.getUTCFullYear() - 1}-01-31T08:00:00Z`;
  await chronos.json('scheduler/iso8601', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: 'monthly', command: 'true', schedule: `R/${start}/P1M`, retries: 0 }) });
  const shown = (await chronos.json('scheduler/upcoming/monthly?count=10')).upcoming.map(o => o.utc);
  await on('#jobs/monthly/edit', async page => {
    await page.locator('.preview').getByRole('button', { name: '5 more' }).click();
    const cells = await page.locator('.preview tbody td[title]').evaluateAll(all => all.map(td => td.title));
    assert.deepEqual([...new Set(cells)].filter(t => t.endsWith('Z')), shown);
  });
});

const full = {
  name: 'full', command: 'echo "$A" && true', shell: true, epsilon: 'PT45M', executor: '', executorFlags: 'flags', taskInfoData: 'data', retries: 7,
  owner: 'a@example.com,b@example.com', ownerName: 'A & B', description: 'Everything\nat once', async: true, successCount: 12, errorCount: 3,
  lastSuccess: '2025-01-01T00:00:00.000Z', lastError: '2025-01-02T00:00:00.000Z', cpus: 0.25, disk: 300.5, mem: 64, disabled: true, softError: true,
  dataProcessingJobType: true, errorsSinceLastSuccess: 2,
  fetch: [{ uri: 'https://example.com/a.tgz', executable: true, cache: true, extract: false, output_file: 'b.tgz', checksum: 'sha256:1' }], uris: [],
  environmentVariables: [{ name: 'A', value: '<b>' }, { name: 'EMPTY', value: '' }], arguments: ['-v', ''], highPriority: true, runAsUser: 'nobody',
  concurrent: true, maxCompletionTime: 3600,
  container: {
    type: 'DOCKER', image: 'busybox:1', network: 'USER', networkName: 'net', forcePullImage: true,
    networkInfos: [{ name: 'net', protocol: 'IPv4', labels: [{ key: 'k', value: 'v' }], portMappings: [{ hostPort: 1, containerPort: 2, protocol: 'tcp' }] }],
    volumes: [{ hostPath: '/a', containerPath: '/b', mode: 'RO' }, { containerPath: '/c', mode: 'RW', external: { name: 'vol', provider: 'dvdi', options: [{ key: 'o', value: '1' }] } }],
    parameters: [{ key: 'memory', value: '1g' }], gpu: 'x',
  },
  constraints: [['rack', 'EQUALS', 'r1'], ['host', 'UNLIKE', 'x.*']], schedule: 'R9/2040-01-01T00:00:00Z/P1D', scheduleTimeZone: 'Europe/Berlin',
  futureField: { list: [1, 2, { x: null }], text: '</script>' }, __proto: 'kept',
};
// JSON that JavaScript would round.
const exact = '"bigNumber":12345678901234567890';

const stored = async name => ({ ...await chronos.json('v1/scheduler/job/' + name), ...await chronos.job(name) });

test('every field of a full job survives an edit, in the form and as JSON', async () => {
  const body = JSON.stringify(full).slice(0, -1) + ',' + exact + '}';
  await chronos.json('scheduler/iso8601', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  const before = await stored('full');
  assert.equal(before.concurrent, true);
  await on('#jobs/full/edit', async page => {
    await page.getByLabel('Description').fill('Changed in the form');
    await page.getByRole('button', { name: 'Review and save' }).click();
    await page.getByRole('dialog').getByText('Changed in the form').waitFor();
    assert.deepEqual(await page.locator('.change h3').allTextContents(), ['description']);
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { level: 1, name: 'full', exact: true }).waitFor();
  });
  assert.deepEqual(await stored('full'), { ...before, description: 'Changed in the form' });
  await on('#jobs/full/edit', async page => {
    await page.getByRole('tab', { name: 'JSON' }).click();
    const text = page.getByLabel('The job as JSON');
    await text.fill((await text.inputValue()).replace('"PT45M"', '"PT46M"').replace('"maxCompletionTime": 3600', '"maxCompletionTime": 60'));
    await page.getByRole('tab', { name: 'Form' }).click();
    assert.equal(await page.getByLabel('Epsilon').inputValue(), 'PT46M');
    await page.getByLabel('Environment 1, value').fill('changed');
    await page.getByRole('button', { name: 'Review and save' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { level: 1, name: 'full', exact: true }).waitFor();
  });
  assert.deepEqual(await stored('full'), {
    ...before, description: 'Changed in the form', epsilon: 'PT46M', maxCompletionTime: 60, environmentVariables: [{ name: 'A', value: 'changed' }, full.environmentVariables[1]],
  });
  const raw = await (await fetch(chronos.url + 'scheduler/job/full')).text();
  assert.ok(raw.includes(exact), raw);
});

test('what others changed meanwhile is kept, and conflicts are reported', async () => {
  await chronos.put({ name: 'shared', command: 'true', owner: 'first', description: 'old', ...yearly });
  await on('#jobs/shared/edit', async page => {
    await page.getByLabel('Description').fill('mine');
    await chronos.put({ ...await chronos.job('shared'), owner: 'second' });
    await page.getByRole('button', { name: 'Review and save' }).click();
    await page.getByText('Changed meanwhile by somebody else, and kept: owner').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Back' }).click();
    await chronos.put({ ...await chronos.job('shared'), description: 'theirs' });
    await page.getByRole('button', { name: 'Review and save' }).click();
    await page.getByText('Meanwhile somebody else has changed description too').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { level: 1, name: 'shared', exact: true }).waitFor();
  });
  const job = await chronos.job('shared');
  assert.deepEqual([job.owner, job.description], ['second', 'mine']);
});

test('a job is run with arguments, and its log is followed', async () => {
  await chronos.put({ name: 'talk', command: 'say() { echo "hello $*"; for i in 1 2 3 4; do echo "line $i"; sleep 0.3; done; echo grumble >&2; }; say', ...yearly });
  await on('#jobs/talk', async page => {
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByLabel('Arguments').fill('wide world');
    await page.getByRole('dialog').getByRole('button', { name: 'Run' }).click();
    const log = page.getByLabel('stdout of the run');
    await log.getByText('line 1').waitFor();
    await log.getByText('line 4').waitFor();
    await page.locator('.log-panel .badge.finished').waitFor();
    await page.getByRole('button', { name: 'stderr' }).click();
    await page.getByLabel('stderr of the run').getByText('grumble').waitFor();
    await page.locator('.runs .badge.finished').waitFor();
  });
  const [run] = (await chronos.runs('talk')).history;
  assert.equal(run.arguments, 'wide world');
});

test('a dependent job is created from the graph', async () => {
  await chronos.put({ name: 'root.job', command: 'true', ...yearly }, { name: 'leaf.job', command: 'true', parents: ['made.here'] });
  await chronos.put({ name: 'other.leaf', command: 'true', parents: ['root.job'] });
  await on('#graph', async page => {
    await page.getByLabel('Find a job').fill('root.job');
    const info = page.getByLabel('Selected job');
    await info.getByRole('link', { name: 'New child' }).click();
    await page.getByLabel('Name', { exact: true }).fill('grown');
    await page.getByLabel('Command', { exact: true }).fill('echo grown');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { level: 1, name: 'grown', exact: true }).waitFor();
    await page.goto(chronos.url + '#graph/root.job');
    await info.getByRole('button', { name: 'grown' }).waitFor();
    await page.locator('.count').getByText('3 jobs').waitFor();
    await page.getByLabel('Dependency graph').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: /^(grown|other.leaf)$/ }).waitFor();
  });
  assert.deepEqual((await chronos.job('grown')).parents, ['root.job']);
});

test('jobs are found, selected and disabled together', async () => {
  await chronos.put(...['a', 'b', 'c'].map(n => ({ name: 'bulk.' + n, command: 'true', epsilon: 'PT77S', ...yearly })));
  await on('#jobs', async page => {
    await seen(page, 'bulk.a');
    await page.keyboard.press('/');
    await page.waitForFunction(() => document.activeElement?.matches('input'));
    await page.keyboard.type('bulk.');
    await page.getByText(/^3 of/).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.getByLabel('Select all jobs shown').check();
    await page.getByRole('toolbar').getByRole('button', { name: 'Disable' }).click();
    await page.getByRole('dialog').getByText('bulk.c').waitFor();
    await page.getByRole('button', { name: 'Disable 3 jobs' }).click();
    await until(async () => await page.locator('.space .badge.disabled').count() === 3, 'three jobs show as disabled');
    await page.getByLabel('Enabled').selectOption('yes');
    await page.getByText('No jobs match').waitFor();
  });
  for (const n of ['a', 'b', 'c']) {
    const job = await chronos.job('bulk.' + n);
    assert.deepEqual([job.disabled, job.epsilon], [true, 'PT77S']);
  }
});

test('the table can be used with the keyboard alone', () => on('#jobs?q=bulk.', async page => {
  await seen(page, 'bulk.a');
  await page.locator('.scroller').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press(' ');
  await page.getByText('1 selected').waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await page.getByRole('dialog').getByText('Search jobs').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('.scroller').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'bulk.b', exact: true }).waitFor();
}));

test('deleting a job says what becomes of its children', async () => {
  await chronos.put({ name: 'old', command: 'true', ...yearly });
  await chronos.put({ name: 'heir', command: 'true', parents: ['old'] });
  await on('#jobs/old', async page => {
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByText('takes over the schedule of old').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await seen(page, 'heir');
    assert.equal(await page.locator('.space .name:text-is("old")').count(), 0);
  });
  assert.equal((await chronos.job('heir')).schedule, yearly.schedule);
});

test('a job whose texts are all scripts is shown as text', async () => {
  const evil = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">"\'${1}';
  await chronos.put({
    name: 'evil.job', command: `echo '${evil.replaceAll("'", '')}'`, description: evil, owner: evil, ownerName: evil, epsilon: 'PT1M', executorFlags: evil, taskInfoData: evil,
    arguments: [], environmentVariables: [{ name: evil, value: evil }], uris: [], constraints: [[evil, 'EQUALS', evil]], runAsUser: 'root',
    container: { type: 'DOCKER', image: evil, network: 'HOST', volumes: [{ containerPath: evil, hostPath: evil, mode: 'RW' }] }, extra: { [evil]: evil }, ...yearly, scheduleTimeZone: '',
  });
  await chronos.run('evil.job', evil);
  for (const hash of ['#overview', '#jobs?q=evil', '#jobs/evil.job', '#jobs/evil.job/edit', '#new?from=evil.job', '#graph/evil.job', '#jobs/' + encodeURIComponent(evil)]) {
    await on(hash, async page => {
      await page.waitForFunction(() => document.querySelector('main')?.children.length > 0 && !/Loading/.test(document.querySelector('main').textContent));
      assert.equal(await page.locator('main script, main img').count(), 0);
      assert.ok(!(await page.title()).includes('owned') || hash.includes('%3C'));
    });
  }
});

test('the list is drawn while the rest of the jobs is still to come', async () => {
  const rows = from => Array.from({ length: 300 }, (_, i) => JSON.stringify({ name: `part.${String(from + i).padStart(4, '0')}`, schedule: 'R/2040-01-01T00:00:00Z/P1Y', status: 'fresh', state: 'idle' })).join(',\n');
  let rest;
  const { url } = chronos, front = createServer((req, res) => {
    if (req.url.includes('/scheduler/overview')) {
      res.write(`{"event":"x-1-1","time":${Date.now()},"version":"1","instance":"i","leader":"i","subscribed":true,"queued":0,"running":0,"totals":{"jobs":600,"success":0,"failure":0,"fresh":600,"running":0,"queued":0,"disabled":0,"problems":0,"missed":0,"killed":7,"lost":0,"missedJobs":5},"jobs":[\n${rows(0)},\n`);
      rest = () => res.end(rows(300) + '\n]}');
      return;
    }
    req.pipe(request(url.slice(0, -1) + req.url, { method: req.method, headers: req.headers }, answer => { res.writeHead(answer.statusCode, answer.headers); answer.pipe(res); }).on('error', () => res.destroy()));
  });
  await new Promise(done => front.listen(0, '127.0.0.1', done));
  const page = await open(browser, `http://127.0.0.1:${front.address().port}/#jobs`);
  try {
    await page.locator('.space .name').getByText('part.0003').waitFor();
    await page.getByText('300 of 600 jobs, loading …').waitFor();
    await page.getByLabel('Search jobs').fill('part.04');
    await page.locator('main').getByText('Loading …', { exact: true }).waitFor();
    await page.evaluate(() => { location.hash = '#overview'; });
    await page.locator('.tile.killed').getByText('7').waitFor();
    assert.match(await page.locator('.tile.total').textContent(), /600/);
    assert.equal(await page.getByText('No job has a next run.').count(), 0);
    await page.evaluate(() => { location.hash = '#jobs/part.0500'; });
    await page.getByText('Loading … 300 of 600 jobs').waitFor();
    await page.evaluate(() => { location.hash = '#jobs?q=part.04'; });
    await page.locator('main').getByText('Loading …', { exact: true }).waitFor();
    rest();
    await page.getByText('100 of 600 jobs', { exact: true }).waitFor();
    await page.locator('.space .name').getByText('part.0403').waitFor();
  } finally {
    rest?.();
    await page.context().close();
    front.closeAllConnections();
    front.close();
  }
});

test('links of older versions lead to the job', () => on('#jobs/bulk.a', page => page.getByRole('heading', { level: 1, name: 'bulk.a', exact: true }).waitFor()));

test('a page of which a part could not be loaded is loaded again', () => on('#overview', async page => {
  for (const [part, fails] of [['assets/dagrun.js', 2], ['assets/app.css', 1], ['assets/app.js', 1], ['v1/scheduler/overview?*', 1]]) {
    let asked = 0;
    await page.route('**/' + part, route => (asked++ < fails ? route.abort('failed') : route.continue()));
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    if (part === 'assets/app.css') await page.waitForFunction(() => document.body && getComputedStyle(document.body).margin === '0px');
    assert.ok(asked > fails, `${part} was asked for ${asked} times`);
    assert.equal(await page.evaluate(() => sessionStorage.getItem('chronos.attempt')), null, 'attempts are counted from the start again');
    await page.unrouteAll();
  }
}));

test('what a page notes late in its address does not undo a step to another page', () => on('#graph', async page => {
  await page.getByRole('heading', { level: 1, name: 'Graph' }).waitFor();
  await page.evaluate(async () => {
    const { note } = await import(document.querySelector('script[type=module]').src);
    location.hash = '#timeline';
    note('#graph?view=0,0,1');
  });
  await page.getByRole('heading', { level: 1, name: 'Timeline' }).waitFor();
  assert.equal(new URL(page.url()).hash, '#timeline');
}));

test('the page of a job that is not there yet, or no more, is drawn when the job comes', () => on('#jobs/comes.late', async page => {
  const come = async () => {
    await chronos.put({ name: 'comes.late', command: 'true', ...yearly });
    await page.getByRole('heading', { level: 1, name: 'comes.late', exact: true }).waitFor();
  };
  await page.getByText('There is no job “comes.late”').waitFor();
  await come();
  await chronos.json('scheduler/job/comes.late', { method: 'DELETE' });
  await page.getByText('“comes.late” has been deleted').waitFor();
  await come();
  await page.getByRole('button', { name: 'Run now' }).waitFor();
  await page.goto(chronos.url + '#graph/comes.later');
  await page.getByRole('heading', { level: 1, name: 'Graph' }).waitFor();
  await chronos.put({ name: 'comes.later', command: 'true', parents: ['comes.late'] });
  await page.getByLabel('Selected job').getByRole('link', { name: 'comes.later' }).waitFor();
}));

test('it works below another path, with credentials', async () => {
  const own = await Instance.start({ args: ['--http_credentials', 'admin:a:b'] }); // a password may hold a colon
  let router;
  try {
    assert.equal((await fetch(own.url)).status, 401);
    assert.equal((await fetch(own.url + 'assets/app.js')).status, 401);
    // What a router in front does: /service/chronos/ becomes /.
    router = createServer((req, res) => {
      if (req.url.startsWith('/service/assets/')) { res.writeHead(404).end(); return; } // asked for before the slash is there
      assert.ok(req.url.startsWith('/service/chronos'), req.url);
      const sent = request({ port: own.port, host: '127.0.0.1', path: req.url.replace('/service/chronos', '') || '/', method: req.method, headers: req.headers }, got => {
        res.writeHead(got.statusCode, got.headers);
        res.flushHeaders();
        got.pipe(res);
      });
      sent.on('error', () => res.destroy());
      res.on('close', () => sent.destroy());
      req.pipe(sent);
    });
    await new Promise(done => router.listen(0, '127.0.0.1', done));
    // Without its last slash the address leads there too.
    const page = await open(browser, `http://127.0.0.1:${router.address().port}/service/chronos#jobs`, { httpCredentials: { username: 'admin', password: 'a:b' } });
    await page.getByText('There are no jobs yet').waitFor();
    await page.waitForSelector('.link-state.live');
    await page.getByRole('link', { name: 'Create the first one' }).click();
    await page.getByLabel('Name', { exact: true }).fill('below');
    await page.getByLabel('Command', { exact: true }).fill('true');
    await page.getByLabel('Schedule', { exact: true }).fill(yearly.schedule);
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { level: 1, name: 'below', exact: true }).waitFor();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
  } finally {
    router?.closeAllConnections();
    router?.close();
    await own.stop();
  }
});

test('the page recovers by itself when another instance takes over', async () => {
  assert.ok(process.env.ZK, 'ZK must be the host:port of a ZooKeeper: go test -run TestInterface starts one');
  const args = ['--zk_hosts', process.env.ZK, '--zk_path', process.env.ZK_PATH ?? `/ui-${Date.now()}`, '--master', 'local', '--zk_timeout', '2000'];
  const first = await Instance.start({ args });
  let second;
  try {
    await until(async () => (await first.json('scheduler/leader')).leader.endsWith(':' + first.port), 'the first leads');
    second = await Instance.start({ args, dir: first.dir });
    await until(async () => (await second.json('v1/scheduler/overview')).members.length === 2, 'both stand');
    await second.put({ name: 'survivor', command: 'echo alive', ...yearly });
    const page = await open(browser, second.url + '#jobs');
    await seen(page, 'survivor');
    await first.put({ name: 'late', command: 'true', ...yearly });
    await seen(page, 'late');
    first.child.kill('SIGKILL');
    await page.waitForSelector('.link-state.lost');
    // A change made while nobody leads waits for the successor.
    await page.getByLabel('Select survivor').check();
    await page.getByRole('toolbar').getByRole('button', { name: 'Run' }).click();
    await page.getByRole('button', { name: 'Run 1 job' }).click();
    await page.waitForSelector('.link-state.live');
    await until(async () => (await second.runs('survivor')).history.length === 1, 'the run has been made once');
    await second.put({ name: 'after.all', command: 'true', ...yearly });
    await seen(page, 'after.all');
    assert.deepEqual(page.wrong, []);
    await page.context().close();
  } finally {
    await second?.stop();
    await first.stop('SIGKILL');
  }
});

test('a change that waits says so, and is not made once it is cancelled', async () => {
  const own = await Instance.start();
  let again;
  try {
    await own.put({ name: 'held', command: 'true', ...yearly }, { name: 'marker', command: 'true', ...yearly });
    const page = await open(browser, own.url + '#jobs/held');
    const sent = [];
    await page.getByRole('button', { name: 'Run now' }).waitFor();
    own.child.kill('SIGKILL');
    await own.ended;
    await page.locator('#outage').getByText('No answer from Chronos since').waitFor();
    page.on('request', r => { if (r.method() !== 'GET') sent.push(`${r.method()} ${r.url()}`); });
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Run', exact: true }).click();
    await page.getByRole('dialog').getByText('Waiting for Chronos').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.locator('.toast').getByText('Cancelled').waitFor();
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.locator('#waiting').getByText('Waiting for Chronos').waitFor();
    await page.locator('#waiting').getByRole('button', { name: 'Cancel' }).click();
    await page.locator('#waiting').waitFor({ state: 'hidden' });
    await page.evaluate(() => { location.hash = '#overview'; });
    await page.getByText('not known').waitFor();
    const before = sent.length;
    again = await Instance.start({ port: own.port, dir: own.dir });
    await page.waitForSelector('.link-state.live');
    await page.locator('#outage').waitFor({ state: 'hidden' });
    await again.run('marker');
    await until(async () => (await again.runs('marker')).history.length === 1, 'the marker has run');
    const { open: running, history } = await again.runs('held');
    assert.deepEqual([running, history, (await again.job('held')).disabled, sent.length], [[], [], false, before]);
    assert.deepEqual(page.wrong, []);
    await page.context().close();
  } finally {
    await again?.stop();
    await own.stop('SIGKILL');
  }
});

test('a schedule is said in the terms of people, in their own zone', () => on('#new', async page => {
  const schedule = page.getByLabel('Schedule', { exact: true }), zone = page.getByLabel('Time zone'), repeats = page.getByLabel('Repeats');
  const words = text => page.locator('.preview .words').getByText(text).waitFor();
  assert.equal(await zone.inputValue(), 'Europe/Berlin');
  await repeats.selectOption('on weekdays');
  await words('Runs at 06:00 on weekdays, Europe/Berlin.');
  assert.equal(await schedule.inputValue(), '0 6 * * 1-5');
  assert.match(await page.locator('.rhythm').textContent(), /Europe\/Berlin/);
  await page.getByLabel('Time of day').fill('09:30');
  await words('Runs at 09:30 on weekdays, Europe/Berlin.');
  await repeats.selectOption('weekly on');
  await page.getByLabel('Thursday').check();
  await page.getByLabel('Tuesday').uncheck();
  await words(/at 09:30 on Mondays, Wednesdays, Thursdays and Fridays/);
  await repeats.selectOption('monthly on');
  await page.getByLabel('Day of the month').fill('15');
  await words(/at 09:30 on the 15th of the month/);
  await repeats.selectOption('every');
  await page.getByLabel('Start').fill('2040-01-01T09:00');
  await page.getByLabel('Unit').selectOption('days');
  await words('Runs at 09:00 every day, from 1 January 2040, Europe/Berlin.');
  await page.locator('.preview tbody tr').first().getByText('1 Jan 2040, 09:00').waitFor();
  await repeats.selectOption('once at');
  await page.getByLabel('Date and time').fill('2040-01-01T09:00');
  await words(/Runs once, at 09:00 on 1 January 2040, Europe\/Berlin. When it has succeeded, the job is disabled./);
  await page.getByLabel('Date and time').fill('2020-01-01T09:00');
  await page.getByText('All of it lies in the past').waitFor();
  await schedule.fill('*/5 * * * *');
  await words('Runs every 5 minutes.');
  assert.equal(await repeats.inputValue(), 'cron');
  await zone.fill('Mars/Olympus');
  await complaint(page, 'scheduleTimeZone').getByText('there is no time zone').waitFor();
}));

test('input is judged while it is typed, in words, until it is mended', () => on('#new', async page => {
  for (const [key, label, bad, says, good] of [
    ['name', 'Name', 'a/b', /letters a to z/, 'judged'],
    ['command', 'Command', ' ', /nothing to run/, 'echo'],
    ['epsilon', 'Epsilon', 'soon', /like PT30M/, 'PT30M'],
    ['retries', 'Retries', '-1', /whole number/, '2'],
    ['mem', 'Memory', '-5', /Give a number/, '64'],
  ]) {
    const field = page.locator(`[data-key="${key}"]`);
    if (key === 'mem') await page.getByText('Resources and files').click();
    await field.fill(bad);
    assert.match(await complaint(page, key).textContent(), says, label);
    await field.fill(good);
    assert.equal(await complaint(page, key).count(), 0, label);
  }
  await page.keyboard.press('Control+s');
  await page.getByRole('heading', { level: 1, name: 'judged', exact: true }).waitFor();
}));

test('jobs are found by their labels, and what runs after a failure is told from what runs after a success', async () => {
  await chronos.put({ name: 'nightly.load', command: 'true', ...yearly, labels: { team: 'data', tier: '1' } }, { name: 'nightly.other', command: 'true', ...yearly, labels: { team: 'web' } });
  await chronos.put({ name: 'nightly.clean', command: 'true', parents: ['nightly.load'], runOn: 'failure' }, { name: 'nightly.next', command: 'true', parents: ['nightly.load'] });
  await on('#jobs/nightly.load', async page => {
    await page.getByRole('link', { name: 'team=data' }).click();
    await seen(page, 'nightly.load');
    assert.equal(await page.locator('.space .name:text-is("nightly.other")').count(), 0);
    await page.goto(chronos.url + '#graph/nightly.clean');
    await page.getByLabel('Selected job').getByText('after a failure of').waitFor();
    await until(async () => await page.getByLabel('Dependency graph').evaluate(el => el.dataset.others) === '1', 'one edge is drawn otherwise');
    await page.screenshot({ path: shots + 'graph-failure.png' });
    await page.goto(chronos.url + '#jobs/nightly.clean');
    await page.getByText('Runs after a failure of').waitFor();
  });
});

test('a wide graph can be read, folded and come back to', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `wide.of.a.very.long.name.indeed-${i}`);
  await chronos.put({ name: 'wide.root', command: 'true', ...yearly }, { name: 'lean.root', command: 'true', ...yearly });
  await chronos.put({ name: 'lean.end', command: 'true', parents: ['lean.root'] });
  await chronos.put(...names.map(name => ({ name, command: 'true', parents: ['wide.root'] })));
  await chronos.put({ name: 'wide.end', command: 'true', parents: names });
  await on('#graph', async page => {
    const canvas = page.getByLabel('Dependency graph'), info = page.getByLabel('Selected job');
    const drawn = async () => { const { scale, named } = await canvas.evaluate(el => el.dataset); return [Number(scale), Number(named)]; };
    await page.getByLabel('Groups of dependent jobs').getByRole('button', { name: 'wide.root' }).click();
    await until(async () => (await drawn())[1] === 3, 'thirty siblings are one node');
    await canvas.focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await info.getByText('30 jobs with the same parents and children').waitFor();
    await page.keyboard.press('Enter');
    await until(async () => (await drawn())[1] === 32, 'each has its name in sight');
    assert.ok((await drawn())[0] >= 0.85, 'names are large enough to be read');
    await info.getByRole('button', { name: 'Fold its siblings' }).waitFor();
    for (const action of ['Run', 'Only relatives']) await info.getByRole('button', { name: action, exact: true }).waitFor();
    await page.keyboard.press('+');
    await page.keyboard.press('Shift+ArrowRight');
    const [scale] = await drawn();
    await until(() => page.evaluate(scale => Math.abs(Number(/at=wide.*open=wide.*view=.*%2C([\d.]+)$/.exec(location.hash)?.[1]) - scale) < 0.002, scale), 'the address says what is seen');
    await page.reload();
    await info.getByRole('button', { name: 'Fold its siblings' }).waitFor();
    await until(async () => (await drawn())[0] === scale, 'the view is as it was');
    await info.getByRole('button', { name: 'Fold its siblings' }).click();
    await until(async () => (await drawn())[1] === 3, 'the siblings are folded');
  });
});

test('a job says how it runs; a killed one is not fresh; menus and lists behave', async () => {
  await chronos.put({ name: 'z.killed', command: 'sleep 600', ...yearly, retries: 3, epsilon: 'PT7M', cpus: 0.1, mem: 32, async: true },
    ...Array.from({ length: 60 }, (_, i) => ({ name: `y.filler-${i}`, command: 'true', ...yearly, scheduleTimeZone: 'Asia/Tokyo' })));
  await chronos.run('z.killed');
  await until(async () => (await chronos.runs('z.killed')).open[0]?.state === 'active', 'it runs');
  await on('#jobs/z.killed', async page => {
    await page.getByRole('button', { name: 'Kill' }).click();
    const kill = page.getByRole('dialog').getByRole('button', { name: 'Kill' });
    assert.equal(await kill.evaluate(el => el === document.activeElement), false, 'what destroys does not have the focus');
    await kill.click();
    await page.locator('.title .badge.killed').waitFor();
    for (const text of ['by 7 min (epsilon)', '3 times after a failure', '0.1 CPUs, 32 MB memory', 'scheduler/task/']) await page.locator('.facts').getByText(text).waitFor();
    await page.locator('.menu summary').click();
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.menu').evaluate(el => el.open), false);
    await page.locator('.menu summary').click();
    await page.getByRole('heading', { level: 1 }).click();
    assert.equal(await page.locator('.menu').evaluate(el => el.open), false);
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByLabel('Arguments').fill('a; b');
    await page.getByRole('dialog').getByText('Chronos removes each ;').waitFor();
    await page.keyboard.press('Escape');
    await page.goto(chronos.url + '#jobs?status=killed');
    await page.getByText(/^1 of/).waitFor();
    // Going back leads to the same place of the list.
    await page.goto(chronos.url + '#jobs?q=y.filler');
    await seen(page, 'y.filler-0');
    await page.locator('.scroller').evaluate(el => { el.scrollTop = 1200; });
    await seen(page, 'y.filler-40');
    const top = await page.locator('.scroller').evaluate(el => el.scrollTop);
    await page.locator('.space .name:text-is("y.filler-40")').click();
    await page.getByRole('heading', { level: 1, name: 'y.filler-40' }).waitFor();
    const next = page.getByRole('region', { name: 'Next instants' });
    await next.getByText('+09:00').first().waitFor();
    assert.ok(await next.evaluate(el => el.scrollWidth <= el.clientWidth), 'the next runs are not cut off');
    await page.goBack();
    await seen(page, 'y.filler-40');
    assert.equal(await page.locator('.scroller').evaluate(el => el.scrollTop), top);
  });
});

test('a log is coloured, searched, linked to and read by parts', async () => {
  const long = `for i in $(seq 1 15000); do echo "line number $i of a very long output ${'.'.repeat(100)}"; done; echo the end`;
  await chronos.put({ name: 'colour', command: String.raw`printf 'plain\n\033[31mred\033[0m and \033[1;32mgreen\033[0m\n10%%\r50%%\r100%%\nERROR: it broke\nplain again\n'; echo to stderr >&2`, ...yearly },
    { name: 'lengthy', command: long, ...yearly });
  await chronos.run('colour');
  await chronos.run('lengthy');
  await until(async () => (await chronos.runs('colour')).history.length && (await chronos.runs('lengthy')).history.length, 'both have run');
  await on('#jobs/colour?run=latest', async page => {
    const log = page.getByLabel('stdout of the run');
    await log.locator('.ansi-red').getByText('red', { exact: true }).waitFor();
    assert.equal(await log.locator('.ansi-green.bold').textContent(), 'green');
    assert.deepEqual(await log.locator('.line .text').allTextContents(), ['plain', 'red and green', '100%', 'ERROR: it broke', 'plain again']);
    assert.deepEqual(await log.locator('.line .no').allTextContents(), ['1', '2', '3', '4', '5']);
    await page.getByRole('button', { name: '1 line with an error' }).click();
    assert.match(await log.locator('.marked').textContent(), /it broke/);
    await page.getByLabel('Search the output').fill('PLAIN');
    await page.getByText('1 of 2 lines').waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('2 of 2 lines').waitFor();
    assert.equal(await log.locator('.marked .text').textContent(), 'plain again');
    await log.locator('.no').nth(3).click();
    assert.match(page.url(), /at=\d+/);
    await page.reload();
    await log.locator('.marked').getByText('it broke').waitFor();
    await page.getByRole('button', { name: 'side by side' }).click();
    await page.getByLabel('stderr of the run').getByText('to stderr').waitFor();
    await log.getByText('plain again').waitFor();
    await page.getByRole('button', { name: 'merged' }).click();
    const merged = page.getByLabel('merged output of the run');
    await merged.getByText('plain again').waitFor();
    assert.deepEqual(await merged.locator('.from-stderr .text').allTextContents(), ['to stderr']);
    await page.route('**/merged?*', route => route.fulfill({ status: 404, body: 'it is not known' }));
    await page.getByRole('button', { name: 'merged' }).click();
    await page.getByText('Not merged: it is not known.').waitFor();
    await page.getByLabel('stderr of the run').getByText('to stderr').waitFor();
    const download = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download stderr' }).click();
    assert.match((await download).suggestedFilename(), /stderr\.txt$/);
  });
  await on('#jobs/lengthy?run=latest', async page => {
    const log = page.getByLabel('stdout of the run'), asked = [];
    page.on('response', r => { if (/stdout/.test(r.url())) asked.push(r); });
    await log.getByText('the end').waitFor();
    assert.ok(await log.locator('.line').count() < 3000, 'only the last part is there');
    assert.equal(await page.getByLabel('follow').isChecked(), true);
    const numbered = async (text, no) => {
      const line = log.locator('.line', { hasText: text });
      await until(async () => await line.locator('.no').textContent() === String(no), `“${text}” has the number ${no}`);
    };
    await numbered('the end', 15001);
    const first = await log.locator('.line .text').first().textContent();
    await log.evaluate(el => { el.scrollTop = 0; });
    await until(async () => await log.locator('.line .text').first().textContent() !== first, 'the part before is read');
    const before = await log.locator('.line .text').first().textContent();
    await numbered(before.trim(), /line number (\d+)/.exec(before)[1]);
    assert.equal(await page.getByLabel('follow').isChecked(), false);
    await page.getByRole('button', { name: 'Start' }).click();
    await log.getByText('line number 1 of').waitFor();
    assert.equal(await log.locator('.no').first().textContent(), '1');
    await page.getByRole('button', { name: 'End' }).click();
    await log.getByText('the end').waitFor();
    for (const r of asked) assert.ok(Number(r.headers()['content-length'] ?? 0) <= 128 << 10, r.url());
    const search = page.getByLabel('Search the output');
    const found = text => page.locator('.log-tools [role=status]').filter({ hasText: text }).waitFor();
    let release;
    await search.fill('number 1234 of');
    await found(/^1 line$/);
    await search.press('Enter');
    await log.locator('.marked').getByText('number 1234 of').waitFor();
    await found(/^1 of 1 line$/);
    await page.route('**/stdout?offset=10*', async route => { await new Promise(done => { release = done; }); await route.continue().catch(() => {}); });
    await search.fill('NUMBER 2');
    await found(/^[\d,]+ lines, searched 1 of 2/);
    await page.getByRole('button', { name: 'Next' }).click();
    await log.locator('.marked').getByText('number 2').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await found(/^[\d,]+ of [\d,]+ lines in the first 1 of 2/);
    release();
    await page.unroute('**/stdout?offset=10*');
  });
});

test('a log says where something was left out, and is searched as it looks', async () => {
  await chronos.put({ name: 'cut', command: 'true', ...yearly });
  await chronos.run('cut');
  await until(async () => (await chronos.runs('cut')).history.length, 'it has run');
  await on('#jobs/cut', async page => {
    const head = 'the begin\n', gap = 1e6, tail = 'a needle\n', size = head.length + gap + tail.length;
    await page.route('**/stdout?*', route => {
      const query = new URL(route.request().url()).searchParams, from = Number(query.get('offset')), start = from < 0 ? Math.max(0, size + from) : from, end = Math.min(size, start + Number(query.get('length')));
      const cut = (text, at) => text.slice(Math.max(0, start - at), Math.max(0, end - at)), hole = Math.min(end, head.length + gap) - Math.max(start, head.length);
      route.fulfill({ headers: { 'X-Chronos-Size': String(size), 'X-Chronos-Next': String(end) }, body: cut(head, 0) + (hole > 0 ? `\n[${hole} bytes were left out here]\n` : '') + cut(tail, head.length + gap) });
    });
    await page.locator('.runs').getByRole('link', { name: 'stdout' }).first().click();
    const log = page.getByLabel('stdout of the run'), last = log.locator('.line', { hasText: 'a needle' });
    await last.waitFor();
    assert.equal(await last.getAttribute('data-offset'), String(size - tail.length));
    await page.getByRole('button', { name: 'Start' }).click();
    await log.getByText('the begin').waitFor();
    await page.getByLabel('Search the output').fill('needle');
    await page.locator('.log-tools [role=status]').filter({ hasText: /^1 line$/ }).waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await log.locator('.marked').getByText('a needle').waitFor();
    assert.equal(await log.locator('.marked').getAttribute('data-offset'), String(size - tail.length));
    // A search finds what is seen: not what was written over, and also what changes its colour or has letters of other lengths before it.
    const lines = ['İstanbul \xff', 'nothing', 'gone needle\rback', '\x1b[31mnee\x1b[1mdle\x1b[0m', 'ends in NEEDLE'];
    assert.deepEqual(await page.evaluate(async lines => {
      const { linesWith } = await import('./assets/log_search.js');
      return linesWith(new TextEncoder().encode(lines.join('\n')), 'needle');
    }, lines), [3, 4].map(n => new TextEncoder().encode(lines.slice(0, n).join('\n') + '\n').length));
  });
});

test('the page of a job is full of it: relatives above the fold, a chart that the keyboard opens, five next runs', async () => {
  await chronos.put({ name: 'v.parent', command: 'true', ...yearly }, { name: 'v.long', command: 'echo ' + 'very '.repeat(200) + 'long', ...yearly, description: 'Its facts take much room' });
  await chronos.put({ name: 'v.child', command: 'true', parents: ['v.long', 'v.parent'] });
  for (let i = 1; i <= 3; i++) {
    await chronos.run('v.long');
    await until(async () => (await chronos.runs('v.long')).history.length === i, 'it has run');
  }
  await on('#jobs/v.long', async page => {
    const box = await page.getByRole('heading', { name: 'Parents and children' }).boundingBox(), child = page.locator('.job-columns').getByRole('link', { name: 'v.child' });
    assert.ok(box.y < 300 && (await child.boundingBox()).y < 800, 'they are seen without scrolling');
    const last = page.locator('.chart .bar').last();
    assert.equal(await page.locator('.chart .bar').count(), 3);
    assert.equal(await page.locator('.chart .axis').first().textContent(), '0');
    assert.ok(await page.locator('.chart .axis').count() >= 3, 'the axis has lines');
    assert.equal(await page.locator('.chart').evaluate(el => getComputedStyle(el.querySelector('.axis')).fontSize === '12px' && el.getScreenCTM().a), 1);
    await last.focus();
    await page.keyboard.press('ArrowLeft');
    assert.match(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), /^finished, due .*, took /);
    await page.keyboard.press('Enter');
    await page.getByLabel('stdout of the run').getByText('very long').waitFor();
    assert.equal(await page.locator('.instants tbody tr').count(), 5);
    await page.setViewportSize({ width: 390, height: 844 });
    await until(async () => (await page.locator('.chart').boundingBox()).width < 390, 'the chart follows the width');
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  });
  await on('#jobs/v.parent', async page => {
    await page.locator('.title').getByText('not run yet').waitFor();
    for (const text of ['never', 'by 1 min (epsilon)']) await page.locator('.facts').getByText(text).first().waitFor();
  }, { viewport: { width: 1920, height: 1080 } });
  await on('#new', async page => {
    const [left, right] = await Promise.all(['Name and trigger', 'What it does'].map(name => page.getByRole('heading', { name }).boundingBox()));
    assert.ok(right.x > left.x + 600 && Math.abs(right.y - left.y) < 20, 'the form fills the page');
  });
});

test('the grid, the timeline and the list of runs show what ran, and lead to it', async () => {
  const job = (name, more) => ({ name, command: 'echo seen', ...yearly, ownerName: 'Crew', ...more });
  await chronos.put(job('crew.good', { labels: { team: 'sea' } }), job('crew.bad', { command: 'exit 4' }), job('crew.often', { schedule: '* * * * *', disabled: false }));
  for (const name of ['crew.good', 'crew.bad', 'crew.good']) {
    const before = (await chronos.runs(name)).history.length;
    await chronos.run(name);
    await until(async () => (await chronos.runs(name)).history.length > before, `${name} has run`);
  }
  await on('#grid?q=crew', async page => {
    const cells = name => page.locator(`.grid-row:has(.name:text-is("${name}")) .cell`);
    await until(async () => await cells('crew.good').count() === 2 && await cells('crew.bad').count() === 1, 'a square for each run');
    assert.match(await cells('crew.bad').getAttribute('class'), /failed/);
    await page.getByLabel('Group by').selectOption('by label');
    await page.locator('.group').getByText('team=sea').waitFor();
    await page.getByRole('button', { name: 'without labels' }).click();
    await until(async () => await cells('crew.bad').count() === 0, 'a group is folded');
    await until(() => page.evaluate(() => /by=label.*folded=/.test(location.hash)), 'the address says so');
    await page.getByLabel('with failures only').check();
    await page.getByText(/^1 of/).waitFor();
    await page.goto(chronos.url + '#grid?q=crew&by=owner');
    await page.locator('.scroller').focus();
    for (const key of ['ArrowDown', 'ArrowDown', 'Enter']) await page.keyboard.press(key); // the heading, crew.bad, crew.good
    await page.getByLabel('stdout of the run').getByText('seen').waitFor();
    assert.match(page.url(), /run=/);
  });
  await on('#timeline?q=crew', async page => {
    const shown = () => page.getByLabel('Runs in time').evaluate(el => [el.dataset.lanes, el.dataset.marks].map(Number));
    await until(async () => { const [lanes, marks] = await shown(); return lanes === 3 && marks > 100; }, 'runs and due times are drawn');
    await page.getByLabel('Jobs', { exact: true }).getByRole('link', { name: 'crew.often' }).waitFor();
    await page.getByLabel('Time shown').selectOption('10 minutes');
    await until(async () => { const [, marks] = await shown(); return marks > 3 && marks < 20; }, 'only ten minutes are drawn');
    await page.getByLabel('Runs in time').focus();
    await page.keyboard.press('ArrowRight');
    await until(() => page.evaluate(() => /span=600000.*at=/.test(location.hash)), 'the address says so');
    await page.getByRole('button', { name: 'Now' }).click();
    await page.getByLabel('Filter jobs').fill('nothing of that name');
    await page.getByText('Nothing ran or will run').waitFor();
  });
  await on('#runs?q=crew', async page => {
    await page.locator('.all-runs .badge.finished').first().waitFor();
    await page.getByLabel('State').selectOption('failed or lost');
    await until(async () => await page.locator('.all-runs tbody tr').count() === 1, 'one failed');
    await page.getByText('exited with status 4').waitFor();
    await page.getByRole('link', { name: 'Log of crew.bad' }).click();
    await page.getByRole('heading', { level: 1, name: 'crew.bad' }).waitFor();
    await page.goBack();
    await until(async () => await page.locator('.all-runs tbody tr').count() === 1, 'the filter is in the address');
  });
});

test('runs beyond the history of a job are listed, drawn by day and in the grid, and found again', async () => {
  await chronos.put({ name: 'past.often', command: 'echo past', ...yearly });
  const before = 2 * 20 + 5; // more than the history keeps, so that some are archived
  for (let n = 0; n < before; n++) await chronos.run('past.often');
  const all = () => chronos.json('scheduler/runs?job=past.often&state=finished&limit=500');
  await until(async () => (await all()).runs.length === before, 'all have run, and are still listed');
  const [oldest] = (await all()).runs.slice(-1);
  assert.ok((await chronos.runs('past.often')).history.every(r => r.id !== oldest.id), 'the oldest is archived');
  await on('#grid?q=past.often', async page => {
    const cells = page.locator('.grid-row .cells a');
    await until(async () => await cells.count() === 30, 'the grid shows thirty');
    const dues = await cells.evaluateAll(list => list.map(a => Number(/due:(\d+)/.exec(a.href)[1])));
    assert.deepEqual(dues, (await all()).runs.slice(0, 30).map(r => Date.parse(r.due)).reverse());
    await page.setViewportSize({ width: 390, height: 844 });
    await until(async () => await cells.count() === 10, 'as many as there is room for');
  }, { viewport: { width: 1440, height: 900 } });
  await on('#jobs/past.often?run=due:' + Date.parse(oldest.due), async page => {
    await page.getByLabel('stdout of the run').waitFor();
    const days = page.getByRole('group', { name: /^Runs by day/ });
    assert.match(await days.getAttribute('aria-label'), new RegExp(`${before} runs, 0 failed`));
    const today = days.getByRole('link').last();
    assert.match(await today.getAttribute('aria-label'), /\d{4}: \d+ runs?$/);
    await today.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Runs' }).waitFor();
    assert.match(page.url(), /job=past.often&from=\d{4}-\d\d-\d\dT00/);
    await until(async () => await page.locator('.all-runs tbody tr').count() > 0, 'the runs of that day');
    await page.getByRole('button', { name: 'Runs of all jobs' }).click();
    await until(() => page.evaluate(() => !/job=/.test(location.hash)), 'the filter is off');
  });
});

test('what was deleted or disabled is brought back, with what its children run after', async () => {
  await chronos.put({ name: 'undo.root', command: 'true', ...yearly, description: 'kept' }, { name: 'undo.other', command: 'true', ...yearly });
  await chronos.put({ name: 'undo.child', command: 'true', parents: ['undo.root', 'undo.other'] }, { name: 'undo.heir', command: 'true', parents: ['undo.root'] });
  await on('#jobs/undo.root', async page => {
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.locator('.title .badge.disabled').waitFor();
    await page.getByRole('button', { name: 'Undo' }).click();
    await until(async () => (await chronos.job('undo.root')).disabled === false, 'it is enabled again');
    await page.locator('.toast').getByText('It is as it was before').waitFor();
    await page.locator('.title .badge.disabled').waitFor({ state: 'hidden' }); // the page has been drawn again
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.locator('.toast').getByText('undo.root was deleted').waitFor();
    assert.equal((await chronos.job('undo.heir')).schedule, yearly.schedule);
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.locator('.toast').getByText('killed runs stay killed').waitFor();
  });
  assert.equal((await chronos.job('undo.root')).description, 'kept');
  assert.deepEqual([(await chronos.job('undo.child')).parents.toSorted(), (await chronos.job('undo.heir')).parents], [['undo.other', 'undo.root'], ['undo.root']]);
});

test('from the keyboard alone a job is made, run, read, edited, disabled and brought back', () => on('#overview', async page => {
  const type = text => page.keyboard.type(text), press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  const tabTo = async (selector, most = 60) => {
    for (let i = 0; i < most; i++) {
      if (await page.evaluate(s => document.activeElement?.matches(s), selector)) return;
      await press('Tab');
    }
    throw new Error('the keyboard does not reach ' + selector);
  };
  await page.waitForSelector('.tile');
  await press('n');
  await page.locator('[data-key=name]').waitFor();
  await tabTo('[data-key=name]');
  await type('by.keys');
  await tabTo('[data-key=command]');
  await type('echo typed');
  await press('Control+s');
  await page.getByRole('heading', { level: 1, name: 'by.keys', exact: true }).waitFor();
  await press('r');
  await page.getByRole('dialog').waitFor();
  await press('Enter');
  await page.getByLabel('stdout of the run').getByText('typed').waitFor();
  await press('e');
  await page.locator('[data-key=description]').waitFor();
  await tabTo('[data-key=description]');
  await type('by hand');
  await press('Control+s');
  await page.getByRole('dialog').getByText('by hand').waitFor();
  await press('Enter');
  await page.getByRole('heading', { level: 1, name: 'by.keys', exact: true }).waitFor();
  await press('Control+k');
  await page.getByRole('combobox', { name: 'Job, page or action' }).waitFor();
  await type('disable by.keys');
  await press('Enter');
  await page.locator('.title .badge.disabled').waitFor();
  await tabTo('.toast-act', 200);
  await press('Enter');
  await until(async () => (await chronos.job('by.keys')).disabled === false, 'it is brought back');
  assert.equal((await chronos.job('by.keys')).description, 'by hand');
}));

test('policies are in the form; jobs are paused, backfilled, exported and imported', async () => {
  await chronos.put({ name: 'rules', command: 'true', ...yearly }, { name: 'rules.past', command: 'sleep 0.1', retries: 0, schedule: 'R/2020-01-01T00:00:00Z/P1D' });
  await on('#jobs/rules/edit', async page => {
    await page.getByText('Beyond the original').click();
    await page.getByLabel('Overlap', { exact: true }).selectOption('skip');
    await page.getByLabel('Retry after', { exact: true }).fill('PT2M');
    await page.getByRole('button', { name: 'Add label' }).click();
    await page.getByLabel('Labels 1, key').fill('team');
    await page.getByLabel('Labels 1, value').fill('data');
    await page.getByRole('button', { name: 'Review and save' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
    await page.locator('.facts').getByText('team=data').waitFor();
    const { overlap, retryDelay, labels } = await chronos.job('rules');
    assert.deepEqual([overlap, labels, /^PT/.test(retryDelay)], ['skip', { team: 'data' }, true]);
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Pause until' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused until').waitFor();
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText('Paused until').waitFor({ state: 'hidden' });
    await page.goto(chronos.url + '#jobs/rules.past');
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Backfill' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Start' }).click();
    await until(async () => (await chronos.runs('rules.past')).history.filter(r => r.kind === 'backfill').length === 7, 'a week has run once more');
    await page.goto(chronos.url + '#jobs?q=rules');
    await page.getByText(/^2 of/).waitFor();
    await page.locator('.menu summary').click();
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Export these' }).click();
    const docs = JSON.parse(await readFile(await (await download).path(), 'utf8'));
    docs.sort((a, b) => a.name.length - b.name.length); // exported as the page lists them
    assert.deepEqual(docs.map(d => d.name), ['rules', 'rules.past']);
    docs[0].description = 'imported';
    docs.push({ ...docs[0], name: 'rules.new' });
    await page.locator('.menu summary').click();
    const chooser = page.waitForEvent('filechooser');
    await page.getByRole('button', { name: 'Import' }).click();
    await (await chooser).setFiles({ name: 'jobs.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(docs)) });
    const plan = page.getByRole('dialog');
    await plan.getByText('1 new job').waitFor();
    await plan.getByText('1 job changed').waitFor();
    await plan.getByText('1 job as it is already').waitFor();
    await plan.getByRole('button', { name: 'Import 2 jobs' }).click();
    await seen(page, 'rules.new');
    assert.equal((await chronos.job('rules')).description, 'imported');
  });
});

test('grid, runs and activity say pools and receivers, and keep filters', async () => {
  await chronos.json('scheduler/pool/tape', { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: '{"slots":2}' });
  await chronos.put({ name: 'keep.one', command: 'true', pool: 'tape', notify: [{ to: 'mailto:night@example.com', on: ['failed'] }], ...yearly }, { name: 'keep.two', command: 'true', ...yearly });
  await chronos.run('keep.one');
  await until(async () => (await chronos.runs('keep.one')).history.length > 0, 'it has run');
  const save = async (page, name) => {
    await page.getByRole('button', { name: 'Save filter' }).click();
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
    await page.getByRole('button', { name: 'Forget ' + name }).waitFor();
  };
  await on('#grid?q=night@&by=notify', async page => {
    const row = page.locator('.grid-row', { has: page.getByRole('link', { name: 'keep.one', exact: true }) });
    await row.getByText('pool tape · tells night@example.com').waitFor();
    await page.locator('.grid-row.group').getByText('night@example.com').waitFor();
    await page.locator('.count').getByText(/^1 of/).waitFor();
    await save(page, 'told at night');
    await page.goto(chronos.url + '#runs');
    assert.equal(await page.getByRole('link', { name: 'told at night' }).count(), 0);
    await page.getByLabel('Pool', { exact: true }).selectOption('tape');
    await until(async () => (await page.locator('.all-runs tbody tr').count()) === 1, 'only runs of the pool');
    await page.locator('.all-runs').getByText('pool tape · tells night@example.com').waitFor();
    await save(page, 'on tape');
    await page.goto(chronos.url + '#activity');
    await page.goto(chronos.url + '#runs');
    await page.getByRole('link', { name: 'on tape' }).click();
    await until(() => page.evaluate(() => location.hash === '#runs?pool=tape'), 'the filter is back');
    await page.goto(chronos.url + '#activity?q=keep.one');
    await save(page, 'who changed it');
    await page.getByRole('button', { name: 'Forget who changed it' }).click();
    await page.getByRole('link', { name: 'who changed it' }).waitFor({ state: 'detached' });
  });
});

test('the run of a DAG is shown as a graph, in time and as a table, and is run again from a job', async () => {
  const dep = (name, parents, command, more = {}) => chronos.put({ name, parents, command, retries: 0, ...more });
  await chronos.put({ name: 'dr.extract', command: 'true', ...yearly }, { name: 'dr.rates', command: 'true', ...yearly });
  await dep('dr.load', ['dr.extract'], 'true');
  await dep('dr.check', ['dr.load'], 'exit 3');
  await dep('dr.convert', ['dr.load', 'dr.rates'], 'true');
  await dep('dr.alarm', ['dr.check'], 'true', { runOn: 'failure' });
  await chronos.run('dr.extract');
  await until(async () => (await chronos.runs('dr.alarm')).history.length > 0, 'the last has run');
  const first = (await chronos.runs('dr.extract')).history[0].id, load = (await chronos.runs('dr.load')).history[0];
  assert.deepEqual(load.causedBy, [{ job: 'dr.extract', run: first }]);
  await on(`#jobs/dr.load?run=${encodeURIComponent(load.id)}`, async page => {
    const belongs = page.getByRole('region', { name: 'What belongs to this run' });
    assert.equal(await belongs.getByRole('link', { name: 'dr.extract' }).getAttribute('href'), `#jobs/dr.extract?run=${encodeURIComponent(first)}`);
    await belongs.getByRole('link', { name: 'dr.check' }).waitFor();
    await belongs.getByRole('link', { name: '4 runs of 4 jobs' }).click();
    await page.getByRole('heading', { level: 1, name: 'DAG run' }).waitFor();
    const rows = page.locator('.dag-runs tbody tr');
    assert.deepEqual(await rows.evaluateAll(list => list.map(tr => [tr.cells[1].textContent, tr.cells[5].textContent, tr.className])),
      [['dr.extract', 'by hand', ''], ['dr.load', 'dr.extract', 'current'], ['dr.check', 'dr.load', ''], ['dr.alarm', 'dr.check', '']]);
    assert.deepEqual(await page.locator('.gantt-row .gantt-name').allTextContents(), ['dr.extract', 'dr.load', 'dr.check', 'dr.alarm']);
    const bar = page.getByRole('link', { name: /^dr.check: failed, started/ });
    await bar.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'dr.check', exact: true }).waitFor();
    await page.goBack();
    const graph = page.locator('canvas.graph');
    await graph.waitFor(); // what is hidden does not take the focus
    await graph.focus();
    await page.keyboard.press('ArrowRight');
    await page.getByRole('complementary', { name: 'Selected job' }).getByRole('link', { name: 'dr.check' }).waitFor();
    await page.keyboard.press('ArrowLeft');
    await page.getByRole('complementary', { name: 'Selected job' }).getByRole('button', { name: 'Run from here' }).click();
    const asked = page.getByRole('dialog', { name: 'Run dr.load and what follows' });
    assert.match(await asked.textContent(), /1 job will follow:dr\.check2 jobs will not:dr\.convert waits for dr\.rates toodr\.alarm runs after a failure only/);
    await asked.getByRole('button', { name: 'Run', exact: true }).click();
    await until(async () => (await rows.count()) === 3, 'the new run is shown with what follows it');
    assert.deepEqual((await chronos.runs('dr.extract')).history.map(r => r.id), [first]);
    assert.equal((await chronos.runs('dr.load')).history.length, 2);
    await page.locator('.gantt-bar').nth(2).waitFor();
  });
});

test('the page of the cluster says what runs where and why runs wait', async () => {
  await chronos.put({ name: 'cl.runs', command: 'sleep 300', ...yearly }, { name: 'cl.waits', command: 'true', cpus: 4096, ...yearly });
  await chronos.json('scheduler/pool/cl', { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: '{"slots":2}' });
  await chronos.run('cl.runs');
  await chronos.run('cl.waits');
  await until(async () => (await chronos.runs('cl.runs')).open[0]?.state === 'active', 'it runs');
  await on('#cluster', async page => {
    const panel = title => page.locator(`.panel:has(h2:text-is("${title}"))`);
    await panel('Agents').getByRole('link', { name: 'cl.runs' }).waitFor();
    await panel('Agents').getByText(/1 run using 0.1 CPUs, 128 MB memory/).waitFor();
    await panel('Why runs wait').locator('li', { has: page.getByRole('link', { name: 'cl.waits' }) }).getByText(/cpus|CPU/).first().waitFor();
    await panel('Pools').getByRole('cell', { name: 'cl', exact: true }).waitFor();
    await panel('Instances').getByText('leads').waitFor();
    await panel('Instances').locator('.badge', { hasText: /^(ok|degraded)$/ }).waitFor();
    await panel('This instance').locator('.badge').first().waitFor();
  });
  await chronos.json('scheduler/task/kill/cl.runs', { method: 'DELETE' });
});

test('who has changed what is shown with its difference, and a job is brought back as it was', async () => {
  await chronos.put({ name: 'act.root', command: 'echo one', owner: 'ops', schedule: 'R9/2030-01-31T06:00:00Z/P1M', retries: 0 });
  await chronos.put({ name: 'act.root', command: 'echo two', owner: 'ops', schedule: 'R9/2030-01-31T06:00:00Z/P1M', retries: 0 });
  await chronos.put({ name: 'act.child', command: 'true', parents: ['act.root'] });
  await on('#activity?job=act.root', async page => {
    const act = action => page.locator('.act', { has: page.locator('.act-what', { hasText: action }) }).first();
    await act('changed').getByRole('button', { name: 'What is different' }).click();
    await act('changed').locator('.diff del', { hasText: 'echo one' }).waitFor();
    await act('changed').locator('.diff ins', { hasText: 'echo two' }).waitFor();
    await act('changed').getByRole('button', { name: 'Take back' }).click();
    const plan = page.getByRole('dialog');
    await plan.locator('.diff ins', { hasText: 'echo one' }).waitFor();
    await plan.getByRole('button', { name: 'Change it back' }).click();
    await until(async () => (await chronos.job('act.root')).command === 'echo one', 'it says again what it said');
    await chronos.json('scheduler/job/act.root', { method: 'DELETE' });
    assert.equal((await chronos.job('act.child')).parents, undefined);
    await act('deleted').getByRole('button', { name: 'Bring back' }).click();
    await plan.getByText('runs that were killed stay killed').waitFor();
    await plan.getByText('1 job will run after it again').waitFor();
    await plan.getByRole('button', { name: 'Bring it back' }).click();
    await page.locator('.toast').getByText('act.root is back').waitFor();
    await page.locator('.act', { hasText: 'created' }).first().waitFor();
  });
  const { command, owner, schedule } = await chronos.job('act.root');
  assert.deepEqual([command, owner, schedule, (await chronos.job('act.child')).parents], ['echo one', 'ops', 'R9/2030-01-31T06:00:00.000Z/P1M', ['act.root']]);
});

test('jobs of a group are run, disabled, paused and brought back from their rows, by pointer and by keys', async () => {
  await chronos.put({ name: 'rowed.a', command: 'echo rowed', ...yearly }, { name: 'rowed.b', command: 'true', ...yearly, labels: { tier: 'rowed' } }, { name: 'rowed.c', command: 'true', ...yearly, labels: { tier: 'rowed' } });
  await on('#jobs', async page => {
    await page.getByLabel('Group', { exact: true }).selectOption('prefix:rowed');
    await page.getByText(/^3 of/).waitFor();
    await until(() => page.evaluate(() => /group=prefix%3Arowed/.test(location.hash)), 'the group is in the address');
    await (await seen(page, 'rowed.b')).hover();
    await page.getByRole('button', { name: 'Disable rowed.b' }).click();
    await page.locator('.toast').getByText('rowed.b was disabled').waitFor();
    await page.getByRole('button', { name: 'Undo' }).click();
    await until(async () => (await chronos.job('rowed.b')).disabled === false, 'it is enabled again');
    await page.mouse.move(5, 5);
    await page.getByRole('grid').focus();
    await page.getByRole('group', { name: 'Actions on rowed.a' }).waitFor();
    await page.keyboard.press('p');
    await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
    await page.locator('.row', { hasText: 'rowed.a' }).locator('.badge.paused').waitFor();
    await page.keyboard.press('r');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Enter');
    await until(async () => (await chronos.runs('rowed.a')).history.some(r => r.kind === 'manual'), 'it has run');
    await page.getByRole('button', { name: 'Log rowed.a' }).focus();
    await page.keyboard.press('Enter');
    await page.getByLabel('stdout of the run').getByText('rowed').waitFor();
    await page.goto(chronos.url + '#jobs?group=label%3Atier%3Drowed');
    await page.getByText(/^2 of/).waitFor();
  });
});

test('a notification channel is tested from the page of the cluster', async () => {
  const got = [];
  let status = 200;
  const hook = createServer((req, res) => { req.on('data', d => got.push(String(d))); req.on('end', () => { res.statusCode = status; res.end('no such secret-place'); }); });
  await new Promise(done => hook.listen(0, '127.0.0.1', done));
  const own = await Instance.start({ args: ['--slack_url', `http://127.0.0.1:${hook.address().port}/secret-place`] });
  const page = await open(browser, own.url + '#cluster');
  try {
    const panel = page.locator('.panel:has(h2:text-is("Notification channels"))');
    await panel.getByText('works').waitFor();
    await panel.getByRole('button', { name: 'Test Slack' }).focus();
    await page.keyboard.press('Enter');
    await panel.getByText(/^A test was delivered in/).waitFor();
    assert.match(got.join(''), /This is a test/);
    status = 403;
    await page.keyboard.press('Enter'); // the button still has the focus
    await panel.getByText(/^The test was not delivered: .*403/).waitFor();
    await panel.getByRole('button', { name: 'Test Receivers that jobs name' }).click();
    const asked = page.getByRole('dialog', { name: 'Test Receivers that jobs name' });
    await asked.getByLabel('To').fill('ftp://x');
    await asked.getByRole('button', { name: 'Send' }).click();
    await asked.getByText(/is no receiver/).waitFor();
    await asked.getByLabel('To').fill('mailto:ops@example.com');
    await asked.getByRole('button', { name: 'Send' }).click();
    await panel.getByText(/^The test was not delivered: there is no mail server/).waitFor();
    assert.deepEqual(page.wrong, []);
  } finally {
    await page.context().close();
    await own.stop();
    hook.close();
  }
});
