import { askRun } from './actions.js';
import { may } from './access.js';
import { button, empty, h, hashOf, link, newId, replace, toast } from './dom.js';
import { count, plural, squares, stateBadges } from './format.js';
import { relatives, store } from './live.js';
import { groups, layout, siblings, size } from './layout.js';
import { Canvas } from './canvas.js';
import { note } from './app.js';

const readable = 0.85; // the scale below which names are hard to read
const manyJobs = 40;   // more are not shown at once unless asked for

export default function graph(main, parts, query) {
  const page = new GraphPage(main, parts[0] ? parts.join('/') : '', query);
  page.rebuild(true);
  page.restore(query.get('view'));
  return page;
}

class GraphPage {
  constructor(main, focus, query) {
    this.focus = focus;                      // the job whose relatives are shown, '' for all
    this.at = query.get('at') ?? focus;      // the job that is selected
    this.dag = query.get('dag') ?? undefined; // a job of the DAG that is shown, '' for all
    this.unfolded = new Set(query.getAll('open')); // first names of siblings that are shown one by one
    const names = newId('names');
    this.find = h('input', {
      type: 'search', list: names, placeholder: 'Find a job', 'aria-label': 'Find a job', autocomplete: 'off',
      input: () => { this.suggest(); if (store.jobs.has(this.find.value)) this.goTo(this.find.value); },
      keydown: e => { if (e.key === 'Enter') this.goTo(this.firstMatch()); },
    });
    this.names = h('datalist', { id: names });
    this.only = h('input', { type: 'checkbox', id: newId('only'), checked: Boolean(focus), change: () => this.restrict() });
    this.lone = h('input', { type: 'checkbox', id: newId('lone'), change: () => { this.dag = ''; this.rebuild(true); } });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.info = h('aside', { class: 'panel node-info', hidden: true, 'aria-label': 'Selected job', 'aria-live': 'polite' });
    this.none = h('div', { hidden: true });
    this.dags = h('nav', { class: 'panel dags', 'aria-label': 'Groups of dependent jobs' });
    this.canvas = new Canvas({ look: name => this.look(name), runOn: name => store.jobs.get(this.members(name)[0])?.runOn, select: (name, move) => this.select(name, move), open: name => this.open(name), moved: () => this.later() });
    this.stage = h('div', { class: 'stage' }, this.canvas.element, this.info, h('div', { class: 'zoom' },
      zoomButton('+', 'Zoom in', () => this.canvas.zoom(1.4)), zoomButton('−', 'Zoom out', () => this.canvas.zoom(1 / 1.4)), zoomButton('↔', 'Fit the width', () => this.canvas.fit(readable)), zoomButton('⤢', 'Show all', () => this.canvas.fit(0.02))));
    this.body = h('div', { class: 'graph-body' }, this.dags, this.stage);
    replace(main, h('div', { class: 'toolbar' }, h('h1', {}, 'Graph'), this.find, this.names,
      h('label', { class: 'check', htmlFor: this.only.id }, this.only, 'only relatives'), h('label', { class: 'check', htmlFor: this.lone.id }, this.lone, 'unrelated jobs'), this.count),
    this.body, this.none);
    this.canvas.attach(this.stage);
  }

  suggest() {
    const typed = this.find.value.toLowerCase(), found = [];
    for (const name of store.jobs.keys()) {
      if (name.toLowerCase().includes(typed)) found.push(name);
      if (found.length === 30) break;
    }
    replace(this.names, found.map(name => h('option', { value: name })));
  }

  firstMatch() {
    const typed = this.find.value.toLowerCase();
    return typed && [...store.jobs.keys()].find(name => name.toLowerCase().includes(typed));
  }

  // shape is what the layout depends on: while it stays, only colours change.
  shape() {
    let text = '';
    for (const row of store.jobs.values()) if (row.parents) text += row.name + '<' + row.parents.join() + '\n';
    return `${text}#${this.lone.checked || this.focus ? [...store.jobs.keys()].join() : ''}#${this.focus}#${this.dag}#${[...this.unfolded].join('\n')}`;
  }

  // families finds the DAGs, the largest first.
  families() {
    const names = [...store.jobs.keys()].filter(name => store.jobs.get(name).parents || store.children.has(name));
    const known = list => [...list ?? []].filter(name => store.jobs.has(name));
    const parents = new Map(names.map(name => [name, known(store.jobs.get(name).parents)]));
    const children = new Map(names.map(name => [name, known(store.children.get(name))]));
    return groups(names, parents, children).map(list => list.sort()).sort((a, b) => b.length - a.length || (a[0] < b[0] ? -1 : 1));
  }

  rebuild(fit) {
    const shape = this.shape();
    if (shape !== this.shaped) {
      if (this.focus && !store.jobs.has(this.focus)) {
        this.awaited = this.focus; // it may be too new to be here
        this.focus = '';
        this.only.checked = false;
      }
      this.list = this.families();
      const related = this.list.reduce((sum, list) => sum + list.length, 0);
      if (this.dag === undefined) this.dag = related > manyJobs && this.list.length > 1 && !this.lone.checked ? this.list[0][0] : '';
      if (this.dag && !this.list.some(list => list.includes(this.dag))) this.dag = '';
      this.shaped = this.shape();
      this.arrange(this.shown());
      this.showDags();
    }
    const shown = this.shownCount, hidden = store.jobs.size - shown;
    this.count.textContent = plural(shown, 'job') + (!this.focus && hidden > 0 ? `, ${count(hidden)} not shown` : '');
    this.body.hidden = shown === 0;
    this.none.hidden = shown > 0;
    if (shown === 0) {
      replace(this.none, empty(store.jobs.size ? 'No job depends on another.' : 'There are no jobs yet.',
        may('edit') && link(store.jobs.size ? 'Create a dependent job' : 'Create the first one', '#new', { class: 'button primary' })));
    }
    if (this.at && !this.graph.nodes.has(this.nodeOf(this.at))) this.at = '';
    this.canvas.selected = this.at && this.nodeOf(this.at);
    this.showInfo();
    if (fit) {
      this.canvas.resized();
      this.canvas.fit(readable);
      if (this.at) this.canvas.reveal(this.canvas.selected);
    }
    this.canvas.later();
  }

  // shown returns the names of the jobs that are to be seen.
  shown() {
    if (this.focus) return [...relatives(this.focus)].filter(name => store.jobs.has(name));
    if (this.dag) return this.list.find(list => list.includes(this.dag));
    return this.lone.checked ? [...store.jobs.keys()] : this.list.flat();
  }

  // arrange lays out jobs, with one node for many siblings that are all alike.
  arrange(names) {
    this.shownCount = names.length;
    const inside = new Set(names), near = list => [...list ?? []].filter(name => inside.has(name));
    this.alike = siblings(names, name => near(store.jobs.get(name).parents), name => near(store.children.get(name)));
    for (const [name, list] of this.alike) if (this.unfolded.has(list[0])) this.alike.delete(name);
    const nodes = new Set(names.map(name => this.nodeOf(name)));
    this.graph = layout([...nodes], node => [...new Set(near(store.jobs.get(this.members(node)[0])?.parents).map(name => this.nodeOf(name)))]);
    this.canvas.show(this.graph);
  }

  // nodeOf names the node that a job is drawn as, members the jobs of a node. No job's name has a slash before it.
  nodeOf(name) {
    const list = this.alike.get(name);
    return list ? '/' + list[0] : name;
  }

  members(node) { return node.startsWith('/') ? this.alike.get(node.slice(1)) : [node]; }

  // look says how a node is drawn.
  look(node) {
    const rows = this.members(node).map(name => store.jobs.get(name)).filter(Boolean);
    if (rows.length === 0) return null;
    const kind = row => row.problem ? 'failure' : row.state === 'running' ? 'running' : row.state === 'queued' ? 'queued' : { killed: 'queued', lost: 'failure' }[row.result] ?? row.result;
    const worst = ['failure', 'running', 'queued', 'success', 'fresh'].find(k => rows.some(row => kind(row) === k));
    const row = rows[0];
    if (rows.length === 1) return { name: row.name, kind: kind(row), off: row.disabled, text: [row.runOn && `on ${row.runOn}`, row.state === 'idle' ? row.result : row.state, row.disabled && 'disabled', row.problem && 'problem'].filter(Boolean).join(', ') };
    const failed = rows.filter(r => kind(r) === 'failure').length, running = rows.filter(r => kind(r) === 'running').length;
    return { name: `${rows.length} jobs: ${commonPrefix(rows)}…`, kind: worst, many: true, text: [failed && `${failed} failed`, running && `${running} running`, 'open to see each'].filter(Boolean).join(', ') };
  }

  showDags() {
    this.dags.hidden = this.list.length < 2;
    const item = (id, title, list) => h('button', { type: 'button', 'aria-pressed': String(!this.focus && (id ? list.includes(this.dag) : !this.dag)), click: () => this.choose(id) },
      h('span', { class: 'dag-name', title }, title), h('small', { class: 'dim' }, plural(list.length, 'job')), trouble(list));
    replace(this.dags, item('', 'All of them', this.list.flat()), this.list.slice(0, 300).map(list => item(list[0], titleOf(list), list)),
      this.list.length > 300 && h('p', { class: 'dim pad' }, `and ${count(this.list.length - 300)} more: find a job of theirs`));
  }

  choose(dag) {
    this.awaited = '';
    this.dag = dag;
    this.focus = this.at = '';
    this.only.checked = false;
    this.rebuild(true);
    this.later();
  }

  restrict() {
    this.focus = this.only.checked ? this.at : '';
    if (this.only.checked && !this.at) {
      this.only.checked = false;
      this.find.focus();
      return;
    }
    this.rebuild(true);
    this.later();
  }

  // goTo shows a job, wherever it is.
  goTo(name) {
    if (!name || !store.jobs.has(name)) return;
    const family = this.list.find(list => list.includes(name));
    this.at = name;
    if (this.focus && !relatives(this.focus).has(name)) { this.focus = ''; this.only.checked = false; }
    if (!family) { this.lone.checked = true; this.dag = ''; } else if (this.dag && !family.includes(this.dag)) this.dag = family[0];
    this.rebuild(true);
    this.later();
  }

  // select marks the job, or the group of alike ones, of a node.
  select(node, move) {
    this.at = node ? this.members(node)[0] : '';
    this.canvas.selected = node;
    this.showInfo();
    if (node && move) this.canvas.reveal(node);
    this.canvas.later();
    this.later();
  }

  open(node) {
    if (!node.startsWith('/')) { location.hash = hashOf(node); return; }
    this.unfolded.add(node.slice(1));
    this.rebuild(true);
    this.select(node.slice(1), true);
  }

  fold(first) {
    this.unfolded.delete(first);
    this.at = '';
    this.rebuild(true);
    this.later();
  }

  showInfo() {
    const node = this.at && this.nodeOf(this.at), row = store.jobs.get(this.at);
    this.info.hidden = !row;
    if (!row) return;
    const names = list => list.slice(0, 12).map((n, i) => [i > 0 && ' ', button(this.look(n)?.name ?? n, () => this.select(n, true), 'small quiet')]);
    const kids = this.graph.children.get(node) ?? [], elders = this.graph.parents.get(node) ?? [];
    const more = list => list.length > 12 && h('span', { class: 'dim' }, ` and ${list.length - 12} more`);
    const family = [elders.length > 0 && h('p', {}, h('span', { class: 'dim' }, { failure: 'after a failure of ', end: 'after any end of ' }[row.runOn] ?? 'after '), names(elders), more(elders)), kids.length > 0 && h('p', {}, h('span', { class: 'dim' }, 'before '), names(kids), more(kids))];
    const members = this.members(node);
    if (members.length > 1) { this.showGroup(node, members, family); return; }
    const opened = [...this.unfolded].find(first => this.siblingOf(first, this.at));
    replace(this.info, h('div', { class: 'panel-head' }, h('h2', {}, link(row.name, hashOf(row.name)))),
      h('div', { class: 'pad' }, h('p', {}, stateBadges(row), ' ', squares(row)), family,
        h('div', { class: 'inline' }, link('Open', hashOf(row.name), { class: 'button small primary' }),
          may('run', row) && button('Run', () => this.run(row), 'small'),
          row.runs && link('Log', hashOf(row.name) + '?run=latest', { class: 'button small' }),
          button('Only relatives', () => { this.only.checked = true; this.restrict(); }, 'small'),
          may('edit', row) && link('New child', '#new?parent=' + encodeURIComponent(row.name), { class: 'button small' }),
          opened && button('Fold its siblings', () => this.fold(opened), 'small'))));
  }

  siblingOf(first, name) {
    const parents = n => [...store.jobs.get(n)?.parents ?? []].sort().join('\n');
    return store.jobs.has(first) && parents(first) === parents(name) && [...store.children.get(first) ?? []].join('\n') === [...store.children.get(name) ?? []].join('\n');
  }

  showGroup(node, members, family) {
    replace(this.info, h('div', { class: 'panel-head' }, h('h2', {}, `${members.length} jobs with the same parents and children`)),
      h('div', { class: 'pad' }, h('ul', { class: 'names' }, members.slice(0, 30).map(name => h('li', {}, link(name, hashOf(name)))), members.length > 30 && h('li', { class: 'dim' }, `and ${members.length - 30} more`)), family,
        h('div', { class: 'inline' }, button('Show each', () => this.open(node), 'small primary'))));
  }

  async run(row) {
    if (await askRun(row, may('edit', row))) toast(`${row.name} was started.`);
  }

  // later records in the address what is seen.
  later() {
    clearTimeout(this.noting);
    this.noting = setTimeout(() => this.noteAddress(), 300);
  }

  noteAddress() {
    const q = new URLSearchParams(), { x, y, k } = this.canvas.view;
    if (this.dag !== undefined && this.list.length > 1 && !this.focus) q.set('dag', this.dag);
    if (this.at && this.at !== this.focus) q.set('at', this.at);
    for (const name of this.unfolded) q.append('open', name);
    q.set('view', [x, y, k].map(n => Math.round(n * 1000) / 1000).join());
    note('#graph' + (this.focus ? '/' + encodeURIComponent(this.focus) : '') + '?' + q);
  }

  restore(view) {
    const [x, y, k] = (view ?? '').split(',').map(Number);
    if (k > 0) this.canvas.view = { x, y, k };
  }

  key(event) {
    if (event.key === '/' && !event.target.closest('input')) { this.find.focus(); return true; }
    return event.target === this.canvas.element && this.canvas.key(event, key => this.neighbour(key));
  }

  neighbour(key) {
    const n = this.graph.nodes.get(this.canvas.selected);
    if (!n) return this.graph.nodes.keys().next().value;
    if (key === 'ArrowLeft') return this.graph.parents.get(n.name)[0];
    if (key === 'ArrowRight') return this.graph.children.get(n.name)[0];
    let best = null;
    for (const other of this.graph.nodes.values()) {
      const dy = (other.y - n.y) * (key === 'ArrowDown' ? 1 : -1);
      if (Math.abs(other.x - n.x) < size.w && dy > 0 && (!best || dy < best[0])) best = [dy, other.name];
    }
    return best?.[1];
  }

  update(names) {
    if (names !== null && names.size === 0) return;
    const come = store.jobs.has(this.awaited) && !this.at;
    if (come) {
      this.focus = this.at = this.awaited;
      this.only.checked = true;
      this.awaited = '';
    }
    this.rebuild(come);
  }

  leave() {
    clearTimeout(this.noting);
    this.canvas.detach();
  }
}

function zoomButton(label, title, click) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': title, title, click }, label);
}

function commonPrefix(rows) {
  let prefix = rows[0].name;
  for (const { name } of rows) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix;
}

// titleOf names a DAG by the jobs that nothing is before.
function titleOf(list) {
  const roots = list.filter(name => !store.jobs.get(name).parents);
  return (roots.slice(0, 2).join(', ') || list[0]) + (roots.length > 2 ? ', …' : '');
}

// trouble marks a DAG in which a job failed or runs.
function trouble(list) {
  const rows = list.map(name => store.jobs.get(name));
  const failed = rows.filter(row => row?.result === 'failure' || row?.problem).length, running = rows.filter(row => row?.state === 'running').length;
  return [failed > 0 && h('small', { class: 'badge failure' }, `${failed} failed`), running > 0 && h('small', { class: 'badge running' }, `${running} running`)];
}
