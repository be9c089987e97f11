import * as api from './api.js';
import { button, empty, h, hashOf, link, replace } from './dom.js';
import { badge, duration, elapsed, openStates, time, viewerZone } from './format.js';
import { store } from './live.js';
import { causes } from './dagrun.js';
import { Past } from './past.js';
import { savedFilters } from './saved.js';

const states = { 'failed,lost': 'failed or lost', 'active,launching,awaiting': 'running', queued: 'queued', finished: 'finished', killed: 'killed', missed: 'missed', skipped: 'skipped' };
const kinds = { scheduled: 'on schedule', dependent: 'after parents', manual: 'by hand', retry: 'another attempt', backfill: 'backfill' };

export default function runs(main, parts, query) {
  const page = new Runs(query);
  replace(main, page.elements());
  page.load();
  return page;
}

// Runs lists the runs of all jobs, the newest first, as far as the jobs' histories go back.
class Runs extends Past {
  constructor(query) {
    super('#runs', ['q', 'job', 'state', 'owner', 'pool', 'kind', 'from', 'to'], query, { first: 100, most: 500, pace: 3000 });
  }

  elements() {
    const input = (key, props) => h('input', { ...props, value: this.filter[key], input: e => this.set(key, e.target.value) });
    const select = (key, label, options) => h('select', { 'aria-label': label, change: e => this.set(key, e.target.value) }, h('option', { value: '' }, label + ': any'), Object.entries(options).map(([value, text]) => h('option', { value, selected: value === this.filter[key] }, text)));
    const pools = [...new Set([...store.jobs.values()].map(row => row.pool).filter(Boolean))].sort().slice(0, 500);
    const owners = [...new Set([...store.jobs.values()].map(row => row.ownerName || row.owner).filter(Boolean))].sort().slice(0, 500);
    this.search = input('q', { type: 'search', class: 'search', placeholder: 'Job or owner', 'aria-label': 'Filter by job' });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.table = h('tbody');
    this.reading = h('p', { class: 'dim', role: 'status' });
    this.only = h('div', { class: 'chips' });
    this.showOnly();
    this.more = button('Older runs', () => this.load(true), 'small');
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Runs'), this.search, this.count), this.only,
      h('div', { class: 'filters runs-filters' }, select('state', 'State', states), owners.length > 0 && select('owner', 'Owner', Object.fromEntries(owners.map(o => [o, o]))), pools.length > 0 && select('pool', 'Pool', Object.fromEntries(pools.map(p => [p, p]))), select('kind', 'Why', kinds),
        h('span', { class: 'nowrap' }, 'due from ', input('from', { type: 'datetime-local', 'aria-label': 'Due from' })), h('span', { class: 'nowrap' }, 'to ', input('to', { type: 'datetime-local', 'aria-label': 'Due to' })), h('span', { class: 'dim' }, viewerZone), savedFilters('#runs')),
      h('section', { class: 'panel', tabindex: 0, role: 'region', 'aria-label': 'Runs' }, h('table', { class: 'runs all-runs' },
        h('thead', {}, h('tr', {}, ['State', 'Job', 'Due', 'Late', 'Took', 'Output', 'Cause', 'Why', 'Where'].map(t => h('th', { scope: 'col' }, t)))), this.table), this.none, h('p', { class: 'pad' }, this.more)),
      this.reading, h('p', { class: 'dim' }, 'As far as runs are kept (--job_history_keep, --run_archive_count).')];
  }

  // showOnly says of which job the runs are, if they are of one.
  showOnly() {
    replace(this.only, this.filter.job && h('span', { class: 'chip' }, h('span', {}, 'Only ', link(this.filter.job, hashOf(this.filter.job)), '\u00a0'), h('button', { type: 'button', class: 'button small', 'aria-label': 'Runs of all jobs', click: () => { this.set('job', ''); this.showOnly(); } }, '×')));
    this.only.hidden = !this.filter.job;
  }

  async ask(query, options) {
    const { runs: list, next, unread = 0 } = await api.allRuns(query, options);
    this.readOn = unread > 0 && unread < (this.unread ?? Infinity);
    this.unread = unread;
    return { list, next };
  }

  // shown asks again as long as the leader reads on.
  async shown(more) {
    if (this.readOn && !more) await this.load();
  }

  show() {
    this.count.textContent = `${this.list.length.toLocaleString()}${this.next ? ' newest' : ''} ${this.list.length === 1 ? 'run' : 'runs'}`;
    this.more.hidden = !this.next || this.readOn;
    this.reading.hidden = this.unread === 0;
    this.reading.textContent = this.readOn ? 'Reading older runs …' : 'The older runs can’t be read now.';
    replace(this.none, this.list.length === 0 && empty('No runs match.'));
    const cell = (label, ...content) => h('td', { 'data-label': label }, content);
    replace(this.table, this.list.map(r => h('tr', { dataset: { run: r.id } },
      cell('State', badge(r.state), h('small', { class: 'dim' }, r.kind, r.attempt > 0 && `, attempt ${r.attempt + 1}`)),
      cell('Job', link(r.job, hashOf(r.job)), beside(store.jobs.get(r.job))),
      cell('Due', time(Date.parse(r.due), store.jobs.get(r.job)?.scheduleTimeZone)),
      cell('Late', r.lateMs !== undefined ? duration(r.lateMs) : '–'),
      cell('Took', r.durationMs !== undefined ? duration(r.durationMs) : r.started && openStates.has(r.state) ? elapsed(Date.parse(r.started)) : '–'),
      cell('Output', r.launched || r.started ? link('log', `${hashOf(r.job)}?run=${encodeURIComponent(r.id)}&file=stdout`, { 'aria-label': `Log of ${r.job}` }) : '–'),
      cell('Cause', causes(r)),
      cell('Why', r.state === 'finished' && / status 0$/.test(r.reason) ? '' : r.reason || (r.exit ? `exit status ${r.exit}` : '')),
      cell('Where', r.agent || r.agentId || '–'))));
  }
}

// beside says in which pool a job's runs are, and whom it tells.
const beside = row => (row?.pool || row?.notify) && h('small', { class: 'dim' }, row.pool && `pool ${row.pool}`, row.pool && row.notify && ' · ', row.notify && `tells ${row.notify.join(', ')}`);
