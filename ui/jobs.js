import { may } from './access.js';
import { button, empty, h, link, newId, replace } from './dom.js';
import { countdown, jobType, plural, squares, stateBadges, time, trigger, count, duration } from './format.js';
import { store } from './live.js';
import { note } from './app.js';
import * as actions from './actions.js';
import { exportJobs, importJobs } from './transfer.js';
import { showSaved } from './saved.js';
import { groupOptions, inGroup } from './groups.js';
import { RowActions } from './row_actions.js';

const columns = [
  { id: 'name', label: 'Job', key: r => r.name.toLowerCase() },
  { id: 'state', label: 'State', key: r => (r.problem ? 0 : r.state === 'running' ? 1 : r.state === 'queued' ? 2 : 3) + { failure: 0, lost: 0.1, killed: 0.1, fresh: 0.2, success: 0.4 }[r.result] + (r.disabled ? 4 : 0) },
  { id: 'runs', label: 'Last runs', key: r => -(lastDuration(r) ?? -1) },
  { id: 'next', label: 'Next run', key: r => r.next ?? Infinity },
  { id: 'trigger', label: 'Trigger', key: r => trigger(r).toLowerCase() },
  { id: 'owner', label: 'Owner', key: r => (r.ownerName || r.owner || '\uffff').toLowerCase() },
];
const hiddenColumns = [
  { id: 'failed', label: 'Last failure', key: r => Date.parse(r.lastError) || 0 },
  { id: 'missed', label: 'Missed', key: r => r.missed ?? 0 },
  { id: 'errors', label: 'Failures', key: r => r.errorCount ?? 0 },
];

const lastDuration = row => row.runs?.find(r => r[3] !== undefined)?.[3];

const filters = {
  state: ['State', { running: 'running', queued: 'queued', idle: 'idle', problem: 'cannot be scheduled' }, (r, v) => v === 'problem' ? Boolean(r.problem) : r.state === v],
  status: ['Result', { success: 'success', failure: 'failure', killed: 'killed', lost: 'lost', fresh: 'not run yet' }, (r, v) => r.result === v],
  enabled: ['Enabled', { yes: 'enabled', no: 'disabled' }, (r, v) => Boolean(r.disabled) === (v === 'no')],
  missed: ['Missed', { yes: 'has missed runs', no: 'has none' }, (r, v) => Boolean(r.missed) === (v === 'yes')],
  type: ['Type', { interval: 'interval', cron: 'cron', dependent: 'dependent', container: 'in a container', async: 'async', priority: 'high priority' },
    (r, v) => v === 'container' ? Boolean(r.image) : v === 'async' ? Boolean(r.async) : v === 'priority' ? Boolean(r.highPriority) : jobType(r) === v],
};

const texts = new WeakMap();

function searchText(row) {
  let text = texts.get(row);
  if (text === undefined) {
    text = [row.name, row.command, row.owner, row.ownerName, row.description, row.image, row.pool, ...row.notify ?? [], ...Object.entries(row.labels ?? {}).map(([key, value]) => `${key}=${value}`)].filter(Boolean).join('\n').toLowerCase();
    texts.set(row, text);
  }
  return text;
}

// warm prepares the texts in advance, so that the first keystroke is fast.
function warm() {
  const rows = [...store.jobs.values()];
  const some = () => {
    for (const row of rows.splice(0, 1000)) searchText(row);
    if (rows.length) setTimeout(some);
  };
  setTimeout(some, 100);
}

export default function jobs(main, parts, query) {
  const table = new Table(query);
  replace(main, table.elements());
  table.sortAll();
  table.measure();
  table.refresh();
  table.goBack();
  if (sessionStorage.getItem('chronos.focus') === 'search') {
    sessionStorage.removeItem('chronos.focus');
    table.search.focus();
  }
  return table;
}

class Table {
  constructor(query) {
    this.words = query.get('q') ?? '';
    this.filter = {};
    for (const id of Object.keys(filters)) this.filter[id] = query.get(id) ?? '';
    this.filter.owner = query.get('owner') ?? '';
    this.filter.group = query.get('group') ?? '';
    this.sort = query.get('sort') ?? 'name';
    this.down = query.get('down') === '1';
    this.selected = new Set();
    this.at = 0;       // index of the active row
    this.sorted = [];
    this.rows = [];
    this.drawn = new Map();
    this.id = newId('jobs');
  }

  elements() {
    this.saved = showSaved('#jobs');
    this.search = h('input', {
      type: 'search', class: 'search', value: this.words, placeholder: 'Search name, command, owner, description, label', 'aria-label': 'Search jobs', 'aria-keyshortcuts': '/',
      input: () => { this.words = this.search.value; this.refresh(true); },
    });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.filterBar = h('div', { class: 'filters' }, Object.entries(filters).map(([id, [label, options]]) => this.select(id, label, options)));
    this.owners = h('select', { 'aria-label': 'Owner', change: () => { this.filter.owner = this.owners.value; this.refresh(true); } });
    this.groups = h('select', { 'aria-label': 'Group', change: () => { this.filter.group = this.groups.value; this.refresh(true); } });
    this.filterBar.append(this.owners, this.groups, this.sortSelect());
    this.bulk = h('div', { class: 'bulk', hidden: true, role: 'toolbar', 'aria-label': 'Selected jobs' });
    this.all = h('input', { type: 'checkbox', hidden: !may('run'), 'aria-label': 'Select all jobs shown', change: () => this.selectAll() });
    this.head = h('div', { class: 'row head', role: 'row', 'aria-rowindex': 1 }, h('span', { role: 'columnheader', class: 'c-check' }, this.all),
      columns.map(c => h('span', { role: 'columnheader', class: 'c-' + c.id, dataset: { column: c.id } },
        h('button', { type: 'button', click: () => this.sortBy(c.id) }, c.label, h('i', { class: 'arrow', 'aria-hidden': 'true' })))));
    this.space = h('div', { class: 'space', role: 'rowgroup' });
    this.scroller = h('div', { class: 'scroller', tabindex: 0, role: 'grid', 'aria-label': 'Jobs', 'aria-multiselectable': 'true', scroll: () => this.later() },
      h('div', { class: 'head-group', role: 'rowgroup' }, this.head), this.space);
    this.actions = new RowActions(this);
    this.none = h('div', { hidden: true });
    this.resize = new ResizeObserver(() => { this.measure(); this.draw(); });
    this.resize.observe(this.scroller);
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Jobs'), this.search, this.count, h('details', { class: 'menu' }, h('summary', { class: 'button' }, 'More'), h('div', { class: 'menu-items' },
      button('Export these', () => exportJobs(this.rows.map(row => row.name))), may('edit') && button('Import …', importJobs), button('Save this filter', () => this.saved.add())))), this.saved.element, this.filterBar, this.bulk, this.actions.box, this.none];
  }

  select(id, label, options) {
    const el = h('select', { 'aria-label': label, dataset: { filter: id }, change: () => { this.filter[id] = el.value; this.refresh(true); } },
      h('option', { value: '' }, label + ': any'), Object.entries(options).map(([value, text]) => h('option', { value }, text)));
    el.value = this.filter[id];
    return el;
  }

  sortSelect() {
    const el = h('select', { 'aria-label': 'Sort', change: () => { const [id, down] = el.value.split(' '); this.sort = id; this.down = Boolean(down); this.sortAll(); this.refresh(true); } },
      [...columns, ...hiddenColumns].flatMap(c => [h('option', { value: c.id }, `Sort: ${c.label} ↑`), h('option', { value: c.id + ' down' }, `Sort: ${c.label} ↓`)]));
    this.sorter = el;
    return el;
  }

  sortBy(id) {
    this.down = this.sort === id ? !this.down : false;
    this.sort = id;
    this.sortAll();
    this.refresh(true);
  }

  sortAll() {
    const { key } = [...columns, ...hiddenColumns].find(c => c.id === this.sort) ?? columns[0];
    const keyed = Array.from(store.jobs.values(), row => ({ row, key: key(row), name: row.name }));
    const sign = this.down ? -1 : 1;
    keyed.sort((a, b) => a.key < b.key ? -sign : a.key > b.key ? sign : a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
    this.sorted = keyed.map(k => k.row);
  }

  // tests are the conditions that a row must meet to be shown.
  tests() {
    const { owner, group } = this.filter, words = this.words.toLowerCase().split(/\s+/).filter(Boolean);
    return [
      ...Object.keys(filters).filter(id => this.filter[id]).map(id => row => filters[id][2](row, this.filter[id])),
      ...owner ? [row => (row.ownerName || row.owner || '') === owner] : [],
      ...group ? [inGroup(group)] : [],
      ...words.map(word => row => searchText(row).includes(word)),
    ];
  }

  // refresh works out which rows are shown.
  refresh(moved) {
    const active = this.rows[this.at]?.name, tests = this.tests();
    this.rows = tests.length ? this.sorted.filter(row => tests.every(test => test(row))) : this.sorted;
    if (moved) {
      this.at = 0;
      this.scroller.scrollTop = 0;
      clearTimeout(this.noting);
      this.noting = setTimeout(() => this.noteAddress(), 250);
    } else if (active !== undefined && this.rows[this.at]?.name !== active) {
      this.at = Math.max(0, this.rows.findIndex(row => row.name === active));
    }
    for (const name of this.selected) if (!store.jobs.has(name)) this.selected.delete(name);
    this.showHead();
    this.showBulk();
    if (!moved) this.showOwners();
    this.space.style.height = this.rows.length * this.height + 'px';
    this.draw();
  }

  noteAddress() {
    const q = new URLSearchParams();
    if (this.words) q.set('q', this.words);
    for (const [id, value] of Object.entries(this.filter)) if (value) q.set(id, value);
    if (this.sort !== 'name') q.set('sort', this.sort);
    if (this.down) q.set('down', '1');
    note('#jobs' + (q.size ? '?' + q : ''));
  }

  showHead() {
    const total = store.jobs.size;
    if (store.partial) this.count.textContent = `${count(this.rows.length)} of ${plural(store.info.totals.jobs, 'job')}, loading …`;
    else this.count.textContent = this.rows.length === total ? plural(total, 'job') : `${count(this.rows.length)} of ${plural(total, 'job')}`;
    this.scroller.setAttribute('aria-rowcount', this.rows.length + 1);
    for (const el of this.head.querySelectorAll('[data-column]')) {
      el.setAttribute('aria-sort', el.dataset.column !== this.sort ? 'none' : this.down ? 'descending' : 'ascending');
    }
    this.sorter.value = this.sort + (this.down ? ' down' : '');
    for (const el of this.filterBar.children) el.classList.toggle('on', el !== this.sorter && el.value !== '');
    this.actions.box.hidden = this.rows.length === 0;
    this.none.hidden = this.rows.length > 0;
    if (this.rows.length === 0) {
      replace(this.none, total === 0
        ? empty('There are no jobs yet.', may('edit') && link('Create the first one', '#new', { class: 'button primary' }))
        : store.partial ? empty('Loading …') : empty('No jobs match.', button('Show all', () => this.reset())));
    }
  }

  reset() {
    this.words = this.search.value = '';
    for (const id of Object.keys(this.filter)) this.filter[id] = '';
    for (const el of this.filterBar.querySelectorAll('[data-filter]')) el.value = '';
    this.owners.value = this.groups.value = '';
    this.refresh(true);
  }

  showOwners() {
    groupOptions(this.groups, this.filter.group);
    const owners = new Set();
    for (const row of store.jobs.values()) {
      const owner = row.ownerName || row.owner;
      if (owner) owners.add(owner);
    }
    if (this.filter.owner) owners.add(this.filter.owner);
    const list = [...owners].sort();
    if (this.ownerList && this.ownerList.join('\n') === list.join('\n')) return;
    this.ownerList = list;
    replace(this.owners, h('option', { value: '' }, 'Owner: any'), list.slice(0, 500).map(owner => h('option', { value: owner }, owner)));
    this.owners.value = this.filter.owner;
    this.owners.hidden = list.length === 0;
  }

  measure() {
    this.height = parseFloat(getComputedStyle(this.scroller).getPropertyValue('--row')) || 44;
    this.headHeight = this.head.offsetHeight;
    this.inner = this.scroller.clientHeight;
    this.space.style.height = this.rows.length * this.height + 'px';
  }

  later() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  // draw creates the rows that are in sight, and a few around them.
  draw() {
    const top = this.top = this.scroller.scrollTop, from = Math.max(0, Math.floor(top / this.height) - 6);
    const to = Math.min(this.rows.length, Math.ceil((top + this.inner) / this.height) + 6);
    const wanted = new Set();
    for (let i = from; i < to; i++) {
      const row = this.rows[i];
      wanted.add(row.name);
      let drawn = this.drawn.get(row.name);
      if (!drawn || drawn.row !== row) {
        const el = this.makeRow(row);
        if (drawn) drawn.el.replaceWith(el); else this.space.append(el);
        drawn = { el, row };
        this.drawn.set(row.name, drawn);
      }
      this.place(drawn, i);
    }
    for (const [name, drawn] of this.drawn) {
      if (wanted.has(name)) continue;
      drawn.el.remove();
      this.drawn.delete(name);
    }
    const active = this.drawn.get(this.rows[this.at]?.name);
    if (active) this.scroller.setAttribute('aria-activedescendant', active.el.id); else this.scroller.removeAttribute('aria-activedescendant');
    this.actions.place();
  }

  place(drawn, i) {
    const { el, row } = drawn, selected = this.selected.has(row.name), active = i === this.at;
    if (drawn.i !== i) {
      drawn.height = 0;
      el.setAttribute('aria-rowindex', i + 2);
      el.id = `${this.id}-${i}`;
      el.dataset.index = i;
    }
    if (drawn.height !== this.height) el.style.transform = `translateY(${i * this.height}px)`;
    drawn.height = this.height;
    drawn.i = i;
    if (drawn.selected !== selected) {
      el.setAttribute('aria-selected', selected);
      el.querySelector('input').checked = selected;
      drawn.selected = selected;
    }
    if (drawn.active !== active) {
      el.classList.toggle('active', active);
      drawn.active = active;
    }
  }

  makeRow(row) {
    const cell = (id, ...content) => h('span', { role: 'gridcell', class: 'c-' + id }, content);
    const box = h('input', { type: 'checkbox', hidden: !may('run'), tabindex: -1, 'aria-label': 'Select ' + row.name, click: event => { event.stopPropagation(); this.toggle(row.name, event.shiftKey); } });
    const name = link(row.name, '#jobs/' + encodeURIComponent(row.name), { class: 'name', tabindex: -1, title: [row.name, row.description].filter(Boolean).join('\n') });
    return h('div', { class: 'row' + (row.disabled ? ' off' : ''), role: 'row', click: event => this.clicked(event, row.name) },
      cell('check', box),
      cell('name', name, h('small', { class: 'dim', title: row.command }, row.command || row.description)),
      cell('state', stateBadges(row)),
      cell('runs', squares(row), lastDuration(row) !== undefined && h('small', { class: 'dim' }, duration(lastDuration(row)))),
      cell('next', row.next ? [time(row.next, row.scheduleTimeZone), h('small', { class: 'dim' }, countdown(row.next))] : h('span', { class: 'dim' }, row.disabled ? 'disabled' : row.parents ? 'after parents' : '–')),
      cell('trigger', row.parents ? h('span', { title: trigger(row) }, trigger(row)) : h('span', { class: 'c-words', title: [row.words, row.schedule, row.scheduleTimeZone].filter(Boolean).join('\n') }, row.words || row.schedule)),
      cell('owner', h('span', { title: [row.ownerName, row.owner].filter(Boolean).join('\n') }, row.ownerName || row.owner)));
  }

  clicked(event, name) {
    this.at = this.drawn.get(name)?.i ?? this.at;
    if (event.target.closest('a, input')) { this.draw(); return; }
    location.hash = '#jobs/' + encodeURIComponent(name);
  }

  toggle(name, range) {
    if (!may('run')) return;
    const at = this.rows.findIndex(row => row.name === name), on = !this.selected.has(name);
    const from = range && this.anchor !== undefined ? Math.min(this.anchor, at) : at, to = range && this.anchor !== undefined ? Math.max(this.anchor, at) : at;
    for (const row of this.rows.slice(from, to + 1)) if (on) this.selected.add(row.name); else this.selected.delete(row.name);
    this.anchor = at;
    this.draw();
    this.showBulk();
  }

  selectAll() {
    if (this.all.checked) for (const row of this.rows) this.selected.add(row.name);
    else this.selected.clear();
    this.draw();
    this.showBulk();
  }

  showBulk() {
    const n = this.selected.size;
    this.all.checked = n > 0 && n >= this.rows.length;
    this.all.indeterminate = n > 0 && !this.all.checked;
    this.bulk.hidden = n === 0;
    const offered = Object.entries(actions.bulk).filter(([, action]) => may(action.role) && [...this.selected].every(name => may(action.role, store.jobs.get(name))));
    const key = n + offered.join();
    if (n === 0 || this.bulkKey === key && this.bulk.firstChild) { this.bulkKey = key; return; }
    this.bulkKey = key;
    replace(this.bulk, h('strong', {}, `${count(n)} selected`), offered.map(([id, action]) =>
      button(action.verb, () => this.run(id), 'small' + (action.danger ? ' danger' : ''))), button('Clear', () => { this.selected.clear(); this.draw(); this.showBulk(); }, 'small quiet'));
  }

  async run(id) {
    const failed = await actions.runBulk(id, [...this.selected]);
    if (!failed) return;
    this.selected = new Set(failed);
    this.bulkKey = '';
    this.draw();
    this.showBulk();
  }

  update(names) {
    if (names !== null && names.size === 0) return;
    this.sortAll();
    this.refresh();
    if (this.early && !store.partial) this.goBack();
  }

  // The list is left at a place, to which going back in the browser's history leads.
  goBack() {
    const late = this.early;
    this.early = store.partial;
    if (this.early) return;
    warm();
    this.entry = history.state?.place ?? crypto.getRandomValues(new Uint32Array(2)).join('-');
    history.replaceState({ ...history.state, place: this.entry }, '');
    const was = JSON.parse(sessionStorage.getItem('chronos.place:' + this.entry) ?? 'null');
    if (!was) return;
    this.at = Math.max(0, this.rows.findIndex(row => row.name === was.name));
    this.scroller.scrollTop = was.top;
    this.draw();
    if (!late || document.activeElement === document.body) this.scroller.focus({ preventScroll: true });
  }

  leave() {
    if (this.entry) try { sessionStorage.setItem('chronos.place:' + this.entry, JSON.stringify({ name: this.rows[this.at]?.name, top: this.top ?? 0 })); } catch { /* storage may be full or forbidden */ }
    this.resize.disconnect();
    if (this.noting) clearTimeout(this.noting);
    cancelAnimationFrame(this.frame);
  }

  move(by) {
    this.at = Math.max(0, Math.min(this.rows.length - 1, this.at + by));
    const top = this.at * this.height, inner = this.scroller.clientHeight - this.headHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + this.height > this.scroller.scrollTop + inner) this.scroller.scrollTop = top + this.height - inner;
    this.draw();
    if (document.activeElement !== this.search) this.scroller.focus({ preventScroll: true });
  }

  key(event, typing) {
    const inSearch = event.target === this.search;
    if (event.key === '/' && !typing) { this.search.focus(); this.search.select(); return true; }
    if (event.key === 'Escape') {
      if (inSearch && this.search.value) { this.search.value = this.words = ''; this.refresh(true); return true; }
      if (inSearch) { this.scroller.focus(); return true; }
      if (this.selected.size) { this.selected.clear(); this.draw(); this.showBulk(); return true; }
      return false;
    }
    if (typing && !inSearch || event.target.closest('button, a') && event.key === 'Enter') return false;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.height) - 2);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[event.key];
    if (by) { this.move(by); return true; }
    if (event.key === 'Enter' && this.rows[this.at]) { location.hash = '#jobs/' + encodeURIComponent(this.rows[this.at].name); return true; }
    if (inSearch) return false;
    if (this.actions.key(event)) return true;
    if (event.key === 'Home' || event.key === 'End') { this.move(event.key === 'Home' ? -Infinity : Infinity); return true; }
    if (event.key === ' ' && this.rows[this.at] && !event.target.closest('button')) { this.toggle(this.rows[this.at].name, event.shiftKey); return true; }
    return false;
  }
}
