// What each role sees of the interface, and what it is not offered.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Instance, launch, open, program, until } from './chronos.mjs';

const password = name => 'secret of ' + name;
const users = { reader: ['read'], runner: ['run'], editor: ['edit'], admin: ['admin'], team: ['edit', 'web.'] };

let browser, chronos, dir, file;

const header = name => ({ Authorization: 'Basic ' + Buffer.from(name + ':' + password(name)).toString('base64') });
const json = (name, path, options = {}) => chronos.json(path, { ...options, headers: { ...header(name), ...options.headers } });
const post = doc => json('admin', 'scheduler/' + (doc.parents ? 'dependency' : 'iso8601'), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(doc) });

function chronosCommand(args, input = '') {
  const done = spawnSync(program, args, { input, encoding: 'utf8' });
  assert.equal(done.status, 0, done.stdout + done.stderr);
  return done.stdout;
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'chronos-users-'));
  file = join(dir, 'users');
  for (const [name, rights] of Object.entries(users)) chronosCommand(['user', 'add', '--file', file, name, ...rights], password(name) + '\n');
  browser = await launch();
  chronos = await Instance.start({ args: ['--http_users_file', file] });
  await until(() => json('admin', 'scheduler/leader'), 'it leads');
  const yearly = { schedule: 'R/2040-01-01T00:00:00Z/P1Y', retries: 0, command: 'true' };
  await post({ ...yearly, name: 'web.site', owner: 'w@example.com' });
  await post({ ...yearly, name: 'db.dump', owner: 'd@example.com' });
  await post({ ...yearly, name: 'web.secret', uris: ['file:///etc/hostname'] });
});

after(async () => {
  await browser?.close();
  await chronos?.stop();
  await rm(dir, { recursive: true, force: true });
});

// as opens a page as somebody, has act done, and makes sure that nothing went wrong meanwhile.
async function as(name, hash, act) {
  const page = await open(browser, chronos.url + hash, { httpCredentials: { username: name, password: password(name) } });
  try {
    await act(page);
    assert.deepEqual(page.wrong, []);
  } finally {
    await page.context().close();
  }
}

const offered = page => page.locator('.actions').evaluate(el => [...el.querySelectorAll('button, a')].map(e => e.textContent));

const expected = {
  reader: { job: ['Copy as curl', 'Show in graph', 'Who changed it'], secret: ['Copy as curl', 'Show in graph', 'Who changed it'], bulk: null, create: false },
  runner: { job: ['Run now', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it'], secret: ['Run now', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it'], bulk: ['Run', 'Kill', 'Clear'], create: false },
  editor: { job: ['Run now', 'Edit', 'Disable', 'Duplicate', 'Pause until …', 'Backfill …', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it', 'Delete'], secret: ['Run now', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it', 'Delete'], bulk: ['Run', 'Enable', 'Disable', 'Kill', 'Delete', 'Clear'], create: true },
  admin: { job: ['Run now', 'Edit', 'Disable', 'Duplicate', 'Pause until …', 'Backfill …', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it', 'Delete'], secret: ['Run now', 'Edit', 'Disable', 'Duplicate', 'Pause until …', 'Backfill …', 'Copy as curl', 'Mark success', 'Show in graph', 'Who changed it', 'Delete'], bulk: ['Run', 'Enable', 'Disable', 'Kill', 'Delete', 'Clear'], create: true },
};

for (const [name, want] of Object.entries(expected)) {
  test(`the role of ${name} is offered what it may do`, () => as(name, '#jobs/web.site', async page => {
    await page.getByRole('heading', { level: 1, name: 'web.site' }).waitFor();
    assert.match(await page.locator('#user').textContent(), new RegExp(`^${name} ${users[name][0]}`));
    assert.equal(await page.locator('#new-job').isVisible(), want.create);
    await until(async () => JSON.stringify(await offered(page)) === JSON.stringify(want.job), `${name} is offered ${want.job} of a job`);
    await page.goto(chronos.url + '#jobs/web.secret');
    await page.getByRole('heading', { level: 1, name: 'web.secret' }).waitFor();
    await until(async () => /Definition/.test(await page.locator('main').textContent()) && JSON.stringify(await offered(page)) === JSON.stringify(want.secret), `${name} is offered ${want.secret} of a job with more than a command`);
    await page.goto(chronos.url + '#jobs');
    await page.waitForSelector('.space .name:text-is("web.site")');
    const boxes = page.locator('.space input[type=checkbox]:visible');
    if (want.bulk === null) {
      assert.equal(await boxes.count(), 0);
    } else {
      await boxes.first().click();
      assert.deepEqual(await page.locator('.bulk button').allTextContents(), want.bulk);
    }
    await page.goto(chronos.url + '#new');
    await (want.create ? page.getByLabel('Name', { exact: true }) : page.getByRole('heading', { name: 'Not for you to edit' })).waitFor();
  }));
}

test('who may only run gives no arguments', () => as('runner', '#jobs/web.site', async page => {
  await page.getByRole('button', { name: 'Run now' }).click();
  await page.locator('.dialog, dialog[open]').first().waitFor();
  assert.equal(await page.getByLabel('Arguments').count(), 0);
  await page.locator('dialog[open]').getByRole('button', { name: 'Run', exact: true }).click();
  await until(async () => (await json('admin', 'scheduler/runs/web.site')).history.length > 0, 'it has run');
}));

test('a scope shows its jobs only, and new ones of it as they come', () => as('team', '#jobs', async page => {
  await page.waitForSelector('.space .name:text-is("web.site")');
  assert.equal(await page.locator('.space .name:text-is("db.dump")').count(), 0);
  await post({ name: 'db.new', command: 'true', schedule: 'R/2040-01-01T00:00:00Z/P1Y' });
  await post({ name: 'web.new', command: 'true', schedule: 'R/2040-01-01T00:00:00Z/P1Y' });
  await page.waitForSelector('.space .name:text-is("web.new")');
  assert.equal(await page.locator('.space .name:text-is("db.new")').count(), 0);
}));

test('a right that is taken back is gone from an open page', () => as('editor', '#jobs', async page => {
  await page.waitForSelector('.space .name:text-is("web.site")');
  assert.equal(await page.locator('#new-job').isVisible(), true);
  const before = await readFile(file, 'utf8');
  try {
    await writeFile(file, before.replace(/^(editor:.*):edit$/m, '$1:read'));
    await until(async () => !await page.locator('#new-job').isVisible(), 'the editor is a reader');
  } finally {
    await writeFile(file, before);
  }
}));

test('an open page says that a password is not taken any more, and asks for it', () => as('runner', '#jobs', async page => {
  await page.waitForSelector('.space .name:text-is("web.site")');
  const before = await readFile(file, 'utf8');
  try {
    await writeFile(file, before.replace(/^runner:.*\n/m, ''));
    await page.locator('#outage').getByText('does not take your password').waitFor();
    assert.equal(await page.locator('.link-state').textContent(), 'Logged out');
    await page.locator('#outage').getByRole('button', { name: 'Log in' }).waitFor();
  } finally {
    await writeFile(file, before);
  }
}));

test('who logs out is asked for a password again', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  try {
    await page.goto(chronos.url.replace('://', `://reader:${encodeURIComponent(password('reader'))}@`));
    await page.waitForSelector('#user:not([hidden])');
    const refused = page.waitForResponse(r => r.url().endsWith('/scheduler/logout'));
    await page.getByRole('button', { name: 'Log out' }).click();
    assert.equal((await refused).status(), 401);
    const answer = await page.goto(chronos.url).catch(err => ({ status: () => String(err) }));
    assert.match(String(answer.status()), /401|INVALID_AUTH/);
  } finally {
    await context.close();
  }
});
