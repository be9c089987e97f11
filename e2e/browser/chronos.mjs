// What the interface tests share: the program, a browser, jobs.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const program = process.env.CHRONOS ?? new URL('../../chronos', import.meta.url).pathname;
// Chromium without windows takes half the time of one that only hides them.
const browserPath = process.env.CHROMIUM ?? ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium'].find(existsSync);

const patience = Number(process.env.PATIENCE ?? 120e3); // ms

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
  });
}

// until polls until a condition holds. Its deadline, like that of a page, only guards against hanging.
export async function until(what, text) {
  const end = Date.now() + patience;
  for (;;) {
    const value = await Promise.resolve().then(what).catch(() => false);
    if (value) return value;
    if (Date.now() > end) throw new Error('it has not happened: ' + text);
    await new Promise(done => setTimeout(done, 50));
  }
}

// An Instance is a running instance of the program.
export class Instance {
  static async start(options = {}) {
    const it = new Instance();
    it.port = options.port ?? await freePort();
    it.dir = options.dir ?? await mkdtemp(join(tmpdir(), 'chronos-ui-'));
    it.own = !options.dir;
    it.url = `http://127.0.0.1:${it.port}/`;
    it.log = '';
    it.child = spawn(program, ['--http_port', String(it.port), '--data_dir', it.dir, ...options.args ?? []], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    it.child.stdout.on('data', d => { it.log += d; });
    it.child.stderr.on('data', d => { it.log += d; });
    it.ended = new Promise(done => it.child.on('exit', done));
    await until(() => fetch(it.url + 'ping').then(r => r.ok), `${program} answers; its log: ${it.log}`);
    return it;
  }

  async json(path, options) {
    const res = await fetch(this.url + path, options);
    if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
    const text = await res.text();
    return (res.headers.get('Content-Type') ?? '').includes('json') && /^[\[{]/.test(text) ? JSON.parse(text) : text;
  }

  put(...docs) {
    return Promise.all(docs.map(doc => this.json('scheduler/' + (doc.parents ? 'dependency' : 'iso8601'), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(doc) })));
  }

  run(name, args) { return this.json(`scheduler/job/${encodeURIComponent(name)}` + (args ? '?arguments=' + encodeURIComponent(args) : ''), { method: 'PUT' }); }

  job(name) { return this.json(`scheduler/job/${encodeURIComponent(name)}`); }

  runs(name) { return this.json(`scheduler/runs/${encodeURIComponent(name)}`); }

  async stop(signal = 'SIGTERM') {
    this.child.kill(signal);
    await this.ended;
    if (!this.own) return;
    // Jobs outlive the program, and so does their keeper.
    spawnSync('pkill', ['-KILL', '-f', `__keep ${this.dir}$`]);
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

export function launch() {
  if (!browserPath) throw new Error('there is no browser: apt-get install chromium-headless-shell, or name one in CHROMIUM');
  return chromium.launch({
    executablePath: browserPath, headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

// open opens a page that records what must not happen: requests to other hosts, script
// errors, and violations of the content security policy.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, timezoneId: 'Europe/Berlin', locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.wrong = [];
  page.on('request', r => { if (!r.url().startsWith(new URL(url).origin) && !r.url().startsWith('data:') && !r.url().startsWith('blob:')) page.wrong.push('request to ' + r.url()); });
  page.on('pageerror', e => page.wrong.push('error: ' + e.stack));
  page.on('console', m => { if (m.type() === 'error' && !/Failed to load resource|net::ERR/.test(m.text())) page.wrong.push('console: ' + m.text()); });
  page.on('dialog', d => { page.dialogs = [...page.dialogs ?? [], d.message()]; d.accept(); });
  // A network that comes or goes on this machine, as a container's, makes the browser give up what it is loading.
  for (const way of ['goto', 'reload']) {
    const once = page[way].bind(page);
    page[way] = (...args) => once(...args).catch(err => { if (!/ERR_NETWORK_CHANGED/.test(err)) throw err; return once(...args); });
  }
  await page.goto(url);
  return page;
}

const day = 86400e3;
const iso = ms => new Date(ms).toISOString();

// seed creates a small company's jobs, some of which have run.
export async function seed(chronos) {
  const soon = minutes => iso(Date.now() + minutes * 60e3);
  const job = (name, command, more = {}) => ({ name, command, schedule: `R/${soon(30)}/PT1H`, owner: 'data@example.com', ownerName: 'Data team', retries: 0, ...more });
  await chronos.put(
    job('ingest.orders', 'echo "orders: 12,480 rows"; sleep 0.2', { description: 'Pulls the orders of the last hour', schedule: `R/${soon(12)}/PT1H` }),
    job('ingest.clicks', 'echo "clicks: 1,204,311 rows"', { description: 'Click stream from the edge', schedule: '*/15 * * * *', scheduleTimeZone: 'America/New_York' }),
    job('ingest.users', 'echo users; exit 3', { description: 'User table, nightly', schedule: `R/${soon(300)}/P1D` }),
    job('backup.db', 'for i in $(seq 1 600); do echo "page $i"; sleep 1; done', { ownerName: 'Operations', owner: 'ops@example.com', schedule: `R/${soon(90)}/P1D`, description: 'Full dump of the database' }),
    job('backup.verify', 'true', { ownerName: 'Operations', owner: 'ops@example.com', schedule: '0 4 * * 1-5', scheduleTimeZone: 'Europe/Berlin' }),
    job('billing.invoice', 'echo invoices', { ownerName: 'Finance', schedule: `R/${soon(6000)}/P1M`, disabled: true }),
    job('too.big', 'true', { cpus: 4096, ownerName: 'Finance', description: 'Asks for more than there is' }),
    job('cleanup.tmp', 'echo cleaned', { ownerName: 'Operations', schedule: 'R/2026-03-28T02:30:00/P1D', scheduleTimeZone: 'Europe/Berlin', disabled: true }),
    job('heartbeat', 'echo beat', { schedule: `R/${soon(1)}/PT1M` }));
  const dep = (name, parents, more = {}) => chronos.put({ name, parents, command: `echo ${name}`, ownerName: 'Data team', owner: 'data@example.com', retries: 0, ...more });
  await dep('warehouse.orders', ['ingest.orders']);
  await dep('warehouse.clicks', ['ingest.clicks']);
  await dep('warehouse.sessions', ['ingest.clicks', 'ingest.users']);
  await dep('report.daily', ['warehouse.orders', 'warehouse.clicks'], { command: 'echo report; exit 1', description: 'What management reads' });
  await dep('report.funnel', ['warehouse.sessions']);
  await dep('mail.report', ['report.daily', 'report.funnel']);
  for (let i = 0; i < 7; i++) {
    for (const name of ['ingest.orders', 'ingest.clicks', 'ingest.users', 'heartbeat', 'backup.verify'].slice(0, 2 + i % 4)) {
      const before = (await chronos.runs(name)).history.length;
      await chronos.run(name);
      await until(async () => (await chronos.runs(name)).history.length > before, `${name} has run`);
    }
  }
  await chronos.run('backup.db');
  await chronos.run('too.big');
  await until(async () => (await chronos.runs('backup.db')).open[0]?.state === 'active', 'backup.db runs');
  await until(async () => (await chronos.runs('report.daily')).history.length > 0, 'report.daily has run');
}

// everyPage returns the addresses of all pages of a seeded instance, by name.
export async function everyPage(chronos) {
  const run = (await chronos.runs('backup.db')).open[0].id;
  const part = (await chronos.runs('report.daily')).history[0].id;
  return {
    dag: '#dag/' + encodeURIComponent(part),
    overview: '#overview', jobs: '#jobs', job: '#jobs/ingest.orders', log: `#jobs/backup.db?run=${encodeURIComponent(run)}&file=stdout`, waits: '#jobs/too.big',
    edit: '#jobs/ingest.clicks/edit', new: '#new', graph: '#graph', focus: '#graph/warehouse.sessions', grid: '#grid', timeline: '#timeline', runs: '#runs', cluster: '#cluster', activity: '#activity', acts: '#activity?q=report.daily',
  };
}

// visit goes to a page, and waits until it is drawn.
export async function visit(page, hash) {
  await page.evaluate(h => { location.hash = h; }, hash);
  await page.waitForFunction(() => document.querySelector('main').children.length > 0 && !/Loading …/.test(document.querySelector('main').textContent));
  await page.waitForTimeout(150);
}

export { day, iso };
