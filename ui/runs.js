import * as api from './api.js';
import { button, empty, h, link, replace } from './dom.js';
import { badge, duration, elapsed, openStates, time, viewerZone } from './format.js';
import { store } from './live.js';
import { note } from './app.js';

const hashOf = name => '#jobs/' + encodeURIComponent(name);

const states = { 'failed,lost': 'failed or lost', 'active,launching,awaiting': 'running', queued: 'queued', finished: 'finished', killed: 'killed', missed: 'missed', skipped: 'skipped' };
const kinds = { scheduled: 'on schedule', dependent: 'after parents', manual: 'by hand', retry: 'another attempt', backfill: 'backfill' };

export default function runs(main, parts, query) {
  const page = new Runs(query);
  replace(main, page.elements());
  page.load();
  return page;
}

// Runs lists the runs of all jobs, the newest first, as far as the jobs' histories go back.
class Runs {
  constructor(query) {
    this.filter = Object.fromEntries(['q', 'job', 'state', 'owner', 'kind', 'from', 'to'].map(key => [key, query.get(key) ?? '']));
    this.list = [];
  }

  elements() {
    const input = (key, props) => h('input', { ...props, value: this.filter[key], input: e => this.set(key, e.target.value) });
    const select = (key, label, options) => h('select', { 'aria-label': label, change: e => this.set(key, e.target.value) }, h('option', { value: '' }, label + ': any'), Object.entries(options).map(([value, text]) => h('option', { value, selected: value === this.filter[key] }, text)));
    const owners = [...new Set([...store.jobs.values()].map(row => row.ownerName || row.owner).filter(Boolean))].sort().slice(0, 500);
    this.search = input('q', { type: 'search', class: 'search', placeholder: 'Job or owner', 'aria-label': 'Filter by job' });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.table = h('tbody');
    this.none = h('div');
    this.reading = h('p', { class: 'dim', role: 'status' });
    this.only = h('div', { class: 'chips' });
    this.showOnly();
    this.more = button('Older runs', () => this.load(true), 'small');
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Runs'), this.search, this.count), this.only,
      h('div', { class: 'filters runs-filters' }, select('state', 'State', states), owners.length > 0 && select('owner', 'Owner', Object.fromEntries(owners.map(o => [o, o]))), select('kind', 'Why', kinds),
        h('span', { class: 'nowrap' }, 'due from ', input('from', { type: 'datetime-local', 'aria-label': 'Due from' })), h('span', { class: 'nowrap' }, 'to ', input('to', { type: 'datetime-local', 'aria-label': 'Due to' })), h('span', { class: 'dim' }, viewerZone)),
      h('section', { class: 'panel', tabindex: 0, role: 'region', 'aria-label': 'Runs' }, h('table', { class: 'runs all-runs' },
        h('thead', {}, h('tr', {}, ['State', 'Job', 'Due', 'Late', 'Took', 'Output', 'Why', 'Where'].map(t => h('th', { scope: 'col' }, t)))), this.table), this.none, h('p', { class: 'pad' }, this.more)),
      this.reading, h('p', { class: 'dim' }, 'As far as runs are kept (--job_history_keep, --run_archive_count).')];
  }

  // showOnly says of which job the runs are, if they are of one.
  showOnly() {
    replace(this.only, this.filter.job && h('span', { class: 'chip' }, h('span', {}, 'Only ', link(this.filter.job, hashOf(this.filter.job)), '\u00a0'), h('button', { type: 'button', class: 'button small', 'aria-label': 'Runs of all jobs', click: () => { this.set('job', ''); this.showOnly(); } }, '×')));
    this.only.hidden = !this.filter.job;
  }

  set(key, value) {
    this.filter[key] = value;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.noteAddress(); this.load(); }, 250);
  }

  noteAddress() {
    const q = new URLSearchParams(Object.entries(this.filter).filter(([, value]) => value));
    note('#runs' + (q.size ? '?' + q : ''));
  }

  query() {
    const q = Object.fromEntries(Object.entries(this.filter).filter(([, value]) => value));
    for (const key of ['from', 'to']) if (q[key]) q[key] = new Date(q[key]).toISOString();
    return q;
  }

  async load(more) {
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const doc = await api.allRuns({ ...this.query(), limit: more ? 100 : Math.min(500, Math.max(100, this.list.length)), ...more && { after: this.next } }, { signal: this.asking.signal });
      this.list = more ? [...this.list, ...doc.runs] : doc.runs;
      this.next = doc.next;
      this.loaded = Date.now();
      const before = this.unread ?? Infinity;
      this.unread = doc.unread ?? 0;
      this.readOn = this.unread > 0 && this.unread < before;
      this.show();
      if (this.readOn && !more) await this.load();
    } catch (err) {
      if (err.name !== 'AbortError') replace(this.none, h('p', { class: 'bad-text pad' }, err.message));
    }
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
      cell('Job', link(r.job, hashOf(r.job))),
      cell('Due', time(Date.parse(r.due), store.jobs.get(r.job)?.scheduleTimeZone)),
      cell('Late', r.lateMs !== undefined ? duration(r.lateMs) : '–'),
      cell('Took', r.durationMs !== undefined ? duration(r.durationMs) : r.started && openStates.has(r.state) ? elapsed(Date.parse(r.started)) : '–'),
      cell('Output', r.launched || r.started ? link('log', `${hashOf(r.job)}?run=${encodeURIComponent(r.id)}&file=stdout`, { 'aria-label': `Log of ${r.job}` }) : '–'),
      cell('Why', r.state === 'finished' && / status 0$/.test(r.reason) ? '' : r.reason || (r.exit ? `exit status ${r.exit}` : '')),
      cell('Where', r.agent || r.agentId || '–'))));
  }

  key(event, typing) {
    if (event.key !== '/' || typing) return false;
    this.search.focus();
    return true;
  }

  // update asks again when something has changed, though not more often than every three seconds, and not while somebody reads what is far down.
  update(names) {
    if (names !== null && names.size === 0 || this.refreshing || this.list.length > 500) return;
    this.refreshing = setTimeout(() => { this.refreshing = 0; this.load(); }, Math.max(0, 3000 - (Date.now() - (this.loaded ?? 0))));
  }

  leave() {
    this.asking?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.refreshing);
  }
}
