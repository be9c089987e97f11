import { empty, h, link, replace } from './dom.js';
import { ago, badge, count, countdown, elapsed, squares, time, plural } from './format.js';
import { store, totals } from './live.js';

const jobLink = row => link(row.name, '#jobs/' + encodeURIComponent(row.name), { class: 'name' });

export default function overview(main) {
  const tiles = h('div', { class: 'tiles' });
  const running = h('div'), next = h('div'), failed = h('div'), cluster = h('div');
  const panel = (title, body, more) => h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, title), more), body);
  replace(main, h('h1', { class: 'sr' }, 'Overview'), tiles, h('div', { class: 'columns' },
    h('div', {}, panel('Running now', running, link('all', '#jobs?state=running', { 'aria-label': 'all running jobs' })),
      panel('Last run failed', failed, link('all', '#jobs?status=failure&sort=failed&down=1', { 'aria-label': 'all failed jobs' }))),
    h('div', {}, panel('Coming next', next, link('all', '#jobs?sort=next', { 'aria-label': 'all jobs by next run' })), panel('Scheduler', cluster))));
  const update = () => {
    showTiles(tiles);
    showRunning(running);
    showNext(next);
    showFailed(failed);
    showCluster(cluster);
  };
  update();
  return { update };
}

function showTiles(box) {
  const t = totals();
  const tile = (kind, n, label, hash) => h('a', { class: `tile ${kind}${n ? '' : ' zero'}`, href: hash }, h('strong', {}, count(n)), h('span', {}, label));
  replace(box,
    tile('total', t.jobs, 'jobs', '#jobs'),
    tile('success', t.success, 'last run succeeded', '#jobs?status=success'),
    tile('failure', t.failure, 'last run failed', '#jobs?status=failure'),
    tile('fresh', t.fresh, 'not run yet', '#jobs?status=fresh'),
    t.killed > 0 && tile('killed', t.killed, 'last run killed', '#jobs?status=killed'),
    t.lost > 0 && tile('lost', t.lost, 'last run lost', '#jobs?status=lost'),
    tile('running', t.running, 'running now', '#jobs?state=running'),
    tile('queued', t.queued, 'queued', '#jobs?state=queued'),
    tile('disabled', t.disabled, 'disabled', '#jobs?enabled=no'),
    tile('missed', t.missed, 'with missed runs', '#jobs?missed=yes&sort=missed&down=1'));
}

// best returns the n rows with the smallest keys; rows without a key are left out.
function best(n, key) {
  const found = [];
  for (const row of store.jobs.values()) {
    const k = key(row);
    if (k === undefined || found.length === n && k >= found[n - 1][0]) continue;
    let i = found.length;
    while (i > 0 && found[i - 1][0] > k) i--;
    found.splice(i, 0, [k, row]);
    if (found.length > n) found.pop();
  }
  return found.map(([, row]) => row);
}

const lines = 12;

function list(box, rows, none, line) {
  if (store.partial) return replace(box, empty('Loading …'));
  if (rows.length === 0) return replace(box, empty(none));
  return replace(box, h('ul', { class: 'lines' }, rows.map(row => h('li', {}, line(row)))));
}

function showRunning(box) {
  const since = row => {
    const run = row.runs?.findLast(r => r[0] === 'a' || r[0] === 'l' || r[0] === 'w');
    return run && run[1] + (run[2] ?? 0);
  };
  list(box, best(lines, row => row.state === 'running' ? since(row) ?? 0 : undefined), 'Nothing is running at the moment.',
    row => [jobLink(row), row.running > 1 && badge('running', `${row.running}×`), h('span', { class: 'end' }, elapsed(since(row)))]);
}

function showNext(box) {
  list(box, best(lines, row => row.next), 'No job has a next run.',
    row => [jobLink(row), row.state === 'queued' && badge('queued'), h('span', { class: 'end dim' }, time(row.next, row.scheduleTimeZone)), h('span', { class: 'end fixed' }, countdown(row.next))]);
}

function showFailed(box) {
  const failedAt = row => row.result === 'failure' ? Date.parse(row.lastError) || 0 : undefined;
  list(box, best(lines, row => failedAt(row) === undefined ? undefined : -failedAt(row)), 'No job failed in its last run.',
    row => [jobLink(row), squares(row), h('span', { class: 'end', title: row.lastError }, failedAt(row) ? ago(failedAt(row)) : row.lastError)]);
}

function showCluster(box) {
  const i = store.info, t = totals();
  const fact = (term, ...value) => [h('dt', {}, term), h('dd', {}, value)];
  const others = (i.members ?? []).filter(id => id !== i.leader);
  replace(box, h('dl', { class: 'facts' },
    fact('Leader', i.leader ? h('code', {}, i.leader) : badge('problem', 'none')),
    others.length > 0 && fact('Others', others.map(id => h('div', {}, h('code', {}, id)))),
    fact('Runs on', i.cluster || 'the cluster', ' ', store.state !== 'live' ? badge('queued', 'not known') : i.subscribed ? badge('success', 'connected') : badge('failure', 'not connected')),
    fact('State in', i.store || 'the store', ' ', store.state === 'live' ? badge('success', 'connected') : badge('queued', 'no updates')),
    fact('Running', `${plural(t.running, 'job')}, ${plural(t.runs, 'run')}`),
    fact('Queued', `${plural(t.queued, 'job')}, ${plural(i.queued, 'run')}`),
    t.problems + (i.invalidRecords ?? 0) > 0 && fact('Problems', link(plural(t.problems, 'job'), '#jobs?state=problem'), i.invalidRecords ? `, ${plural(i.invalidRecords, 'stored record')} that can’t be read` : ''),
    fact('Version', i.version)));
}
