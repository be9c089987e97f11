import * as api from './api.js';
import { may } from './access.js';
import { Canvas } from './canvas.js';
import { askRunFrom } from './job_actions.js';
import { button, empty, h, hashOf, link, replace } from './dom.js';
import { badge, duration, now, openStates, plural, time } from './format.js';
import { Gantt, took } from './gantt.js';
import { layout } from './layout.js';
import { store } from './live.js';

const logOf = r => `${hashOf(r.job)}?run=${encodeURIComponent(r.id)}`;
export const dagHash = id => '#dag/' + encodeURIComponent(id);
const readable = 0.85; // the scale below which names are hard to read
const kinds = { finished: 'success', failed: 'failure', lost: 'failure', killed: 'queued', queued: 'queued', active: 'running', launching: 'running', awaiting: 'running' };

export default function dagrun(main, [id]) {
  const page = new DagRun(main, id);
  page.load();
  return page;
}

// A DagRun shows which runs belong together: what caused a run, and all that this has caused.
class DagRun {
  constructor(main, id) {
    this.id = id;
    this.cancel = new AbortController();
    this.head = h('div', { class: 'job-head' }, h('div', { class: 'title' }, h('h1', {}, 'DAG run')), h('p', { class: 'dim' }, 'Loading …'));
    this.info = h('aside', { class: 'panel node-info', hidden: true, 'aria-label': 'Selected job', 'aria-live': 'polite' });
    this.canvas = new Canvas({ look: name => this.look(name), runOn: name => this.coming?.get(name)?.runOn ?? store.jobs.get(name)?.runOn, select: (name, move) => this.select(name, move), open: name => this.open(name), moved: () => {} });
    const zoom = (label, title, click) => h('button', { type: 'button', class: 'icon-button', 'aria-label': title, title, click }, label);
    this.stage = h('div', { class: 'stage' }, this.canvas.element, this.info, h('div', { class: 'zoom' },
      zoom('+', 'Zoom in', () => this.canvas.zoom(1.4)), zoom('−', 'Zoom out', () => this.canvas.zoom(1 / 1.4)), zoom('⤢', 'Show all', () => this.canvas.fit(0.02))));
    this.gantt = new Gantt(logOf);
    this.table = h('tbody');
    this.rest = h('div');
    const panel = (title, ...body) => h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, title)), body);
    this.body = h('div', { class: 'dagrun', hidden: true }, this.stage, panel('Times', this.gantt.element), panel('Runs', h('div', { class: 'table-box', tabindex: 0, role: 'region', 'aria-label': 'Runs' },
      h('table', { class: 'runs dag-runs' }, h('thead', {}, h('tr', {}, ['State', 'Job', 'Queued', 'Started', 'Took', 'Caused by', 'Output', 'Attempt'].map(t => h('th', { scope: 'col' }, t)))), this.table)), this.rest));
    replace(main, this.head, this.body);
    this.canvas.attach(this.stage);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = 0;
    try {
      this.doc = await api.dagRun(this.id, { signal: this.cancel.signal });
      this.loaded = Date.now();
      this.arrange();
      this.show();
    } catch (err) {
      if (err.name === 'AbortError') return;
      this.body.hidden = true;
      replace(this.head, h('div', { class: 'title' }, h('h1', {}, 'DAG run')), empty(err.status === 404 ? 'This run is in no history any more.' : err.message, link('All runs', '#runs')));
    }
  }

  // arrange lays out the jobs, each with its newest attempt, and those to come.
  arrange() {
    const { runs, coming } = this.doc;
    this.jobs = new Map();
    for (const r of runs) this.jobs.set(r.job, [...this.jobs.get(r.job) ?? [], r]);
    this.coming = new Map(coming.map(c => [c.job, c]));
    const parents = name => [...new Set(this.coming.get(name)?.parents ?? this.jobs.get(name).flatMap(r => (r.causedBy ?? []).map(c => c.job)))];
    const shape = [...this.jobs.keys(), ...this.coming.keys()].map(name => name + '<' + parents(name).join()).join('\n');
    if (shape === this.shape) return;
    const first = !this.shape;
    this.shape = shape;
    this.graph = layout([...this.jobs.keys(), ...this.coming.keys()], parents);
    this.stage.style.height = `${Math.min(420, Math.max(150, this.graph.height + 80))}px`;
    this.canvas.show(this.graph);
    this.body.hidden = false;
    if (first) this.canvas.selected = runs.find(r => r.id === this.id)?.job ?? '';
    this.canvas.resized();
    this.canvas.fit(readable);
    if (first) this.canvas.reveal(this.canvas.selected);
  }

  look(name) {
    const runs = this.jobs.get(name), last = runs?.at(-1);
    if (!last) return { name, kind: 'fresh', off: true, text: 'may follow' };
    const taken = last.durationMs !== undefined ? `, ${duration(last.durationMs)}` : '';
    return { name, kind: kinds[last.state] ?? 'fresh', text: last.state + taken + (runs.length > 1 ? `, ${runs.length} runs` : '') };
  }

  show() {
    const { runs, partial } = this.doc, roots = runs.filter(r => !r.causedBy && !r.moreCauses && !r.retryOf);
    const open = runs.some(r => openStates.has(r.state)), from = Math.min(...runs.map(r => Date.parse(r.queued ?? r.due)));
    const counts = new Map();
    for (const list of this.jobs.values()) counts.set(list.at(-1).state, (counts.get(list.at(-1).state) ?? 0) + 1);
    const until = open ? now() : Math.max(...runs.map(r => Date.parse(r.ended)));
    const root = roots.length === 1 ? roots[0] : null;
    replace(this.head, h('div', { class: 'title' }, h('h1', {}, 'DAG run'), [...counts].map(([state, n]) => badge(state, `${n} ${state}`)), this.coming.size > 0 && badge('fresh', `${this.coming.size} may follow`)),
      h('p', { class: 'dim' }, `${plural(runs.length, 'run')} of ${plural(this.jobs.size, 'job')}, since `, time(from), `, ${open ? 'so far' : 'took'} ${duration(Math.max(0, until - from))}. `,
        roots.length > 0 && ['It began with ', roots.slice(0, 3).map((r, i) => [i > 0 && ', ', link(r.job, logOf(r), { class: 'underlined' }), ` (${why(r)})`]), roots.length > 3 && ` and ${roots.length - 3} more`, '.'], partial && ' There is more than is shown.'),
      root && may('run', store.jobs.get(root.job)) && store.jobs.has(root.job) && h('div', { class: 'actions' }, button('Run all of it again', () => askRunFrom(root.job))));
    const order = [...this.jobs].map(([name, list]) => ({ name, runs: list }));
    this.gantt.show(order);
    this.showTable();
    this.showInfo();
    this.canvas.later();
    if (open && !this.cancel.signal.aborted) this.timer = setTimeout(() => { this.timer = 0; if (!document.hidden) this.show(); else this.load(); }, 5000);
  }

  showTable() {
    const { runs } = this.doc, known = new Map(runs.map(r => [r.id, r])), cell = (label, ...content) => h('td', { 'data-label': label }, content);
    replace(this.table, runs.map(r => h('tr', { class: r.id === this.id ? 'current' : '', dataset: { run: r.id } },
      cell('State', badge(r.state), h('small', { class: 'dim' }, r.kind)), cell('Job', link(r.job, hashOf(r.job))),
      cell('Queued', time(Date.parse(r.queued ?? r.due))), cell('Started', r.started ? time(Date.parse(r.started)) : '–'), cell('Took', took(r)),
      cell('Caused by', causes(r, known)), cell('Output', r.launched || r.started ? link('log', logOf(r), { 'aria-label': `Log of ${r.job}` }) : '–'), cell('Attempt', String(r.attempt + 1)))));
    const list = [...this.coming.values()];
    replace(this.rest, list.length > 0 && [h('h3', { class: 'pad' }, 'May follow'), h('ul', { class: 'lines' }, list.slice(0, 50).map(c => h('li', {}, link(c.job, hashOf(c.job), { class: 'name' }), h('span', { class: 'dim' }, { failure: 'after a failure of ', end: 'after any end of ' }[c.runOn] ?? 'after ', c.parents.join(', '))))), list.length > 50 && h('p', { class: 'dim pad' }, `and ${list.length - 50} more`)]);
  }

  select(name, move) {
    this.canvas.selected = name;
    this.chosen = name;
    this.showInfo();
    if (name && move) this.canvas.reveal(name);
    this.canvas.later();
  }

  open(name) { const last = this.jobs.get(name)?.at(-1); location.hash = last ? logOf(last) : hashOf(name); }

  showInfo() {
    const name = this.chosen, last = this.jobs.get(name)?.at(-1), row = store.jobs.get(name);
    this.info.hidden = !name;
    if (!name) return;
    replace(this.info, h('div', { class: 'panel-head' }, h('h2', {}, link(name, hashOf(name)))), h('div', { class: 'pad' },
      last ? h('p', {}, badge(last.state), ' ', took(last), last.reason && h('span', { class: 'dim' }, ' ', last.reason)) : h('p', { class: 'dim' }, 'It has not run yet.'),
      h('div', { class: 'inline' }, last && (last.launched || last.started) && link('Log', logOf(last), { class: 'button small primary' }), link('Open job', hashOf(name), { class: 'button small' }),
        row && may('run', row) && button('Run from here', () => askRunFrom(name), 'small'))));
  }

  key(event) {
    return event.target === this.canvas.element && this.canvas.key(event, key => this.neighbour(key));
  }

  neighbour(key) {
    const n = this.graph.nodes.get(this.canvas.selected);
    if (!n) return this.graph.nodes.keys().next().value;
    if (key === 'ArrowLeft') return this.graph.parents.get(n.name)[0];
    if (key === 'ArrowRight') return this.graph.children.get(n.name)[0];
    const down = key === 'ArrowDown' ? 1 : -1;
    return [...this.graph.nodes.values()].filter(o => o.column === n.column && (o.y - n.y) * down > 0).sort((a, b) => (a.y - b.y) * down)[0]?.name;
  }

  // update asks again when something has changed that belongs here, though not more often than every second.
  update(names) {
    if (!this.jobs || this.refreshing || names !== null && ![...names].some(name => this.jobs.has(name) || this.coming.has(name))) return;
    this.refreshing = setTimeout(() => { this.refreshing = 0; this.load(); }, Math.max(0, 1000 - (Date.now() - this.loaded)));
  }

  leave() {
    this.cancel.abort();
    clearTimeout(this.timer);
    clearTimeout(this.refreshing);
    this.canvas.detach();
    this.gantt.detach();
  }
}

// why says what started a run that no other run has caused.
function why(r) {
  if (r.kind === 'manual') return r.requestedBy ? `by hand, ${r.requestedBy}` : 'by hand';
  return { scheduled: 'on schedule', backfill: 'backfill', retry: 'another attempt' }[r.kind] ?? r.kind;
}

// causes names what has caused a run, each with a link to it. known are the runs at hand, if any are.
export function causes(r, known) {
  if (r.retryOf) return ['the attempt before', known?.get(r.retryOf) && [', ', link('its log', logOf(known.get(r.retryOf)))]];
  const list = (r.causedBy ?? []).map((c, i) => [i > 0 && ', ', c.run ? link(c.job, `${hashOf(c.job)}?run=${encodeURIComponent(c.run)}`) : h('span', { title: 'It was marked as successful, or the run is in no history any more.' }, c.job)]);
  if (list.length === 0 && !r.moreCauses) return why(r);
  return [list, r.moreCauses > 0 && ` and ${plural(r.moreCauses, 'other')}`];
}

// showCauses says at a run's output what has caused it and what it has caused, each with links.
export async function showCauses(place, id, options) {
  replace(place);
  try {
    const { runs } = await api.dagRun(id, options), known = new Map(runs.map(r => [r.id, r])), r = known.get(id);
    const caused = runs.filter(x => x.retryOf === id || x.causedBy?.some(c => c.run === id));
    if (!r || caused.length === 0 && !r.causedBy && !r.moreCauses && !r.retryOf) return;
    replace(place, h('section', { class: 'panel', 'aria-label': 'What belongs to this run' }, h('dl', { class: 'facts' }, h('dt', {}, 'Caused by'), h('dd', {}, causes(r, known)),
      caused.length > 0 && [h('dt', {}, 'Caused'), h('dd', {}, caused.slice(0, 12).map((x, i) => [i > 0 && ', ', link(x.retryOf === id ? 'the next attempt' : x.job, logOf(x)), ' ', badge(x.state)]), caused.length > 12 && ` and ${caused.length - 12} more`)],
      h('dt', {}, 'DAG run'), h('dd', {}, link(`${plural(runs.length, 'run')} of ${plural(new Set(runs.map(x => x.job)).size, 'job')}`, dagHash(id), { class: 'underlined' })))));
  } catch (err) {
    if (err.name !== 'AbortError') replace(place);
  }
}
