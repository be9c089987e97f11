import * as api from './api.js';
import { empty, h, hashOf, link, newId, replace } from './dom.js';
import { count, countdown, duration, openStates, plural, runStates, short, stateBadges } from './format.js';
import { groupings } from './groups.js';
import { savedFilters } from './saved.js';
import { store } from './live.js';
import { note } from './app.js';

const rowHeight = 26; // px
const spare = 8;      // rows that are drawn beyond those in sight
const inRow = 10;     // runs that the overview tells of each job
const mostRuns = 30;  // that are shown of each
const cellWidth = 22; // px, with the gap
const askedAtOnce = 50;

export default function grid(main, parts, query) {
  const page = new Grid(query);
  replace(main, page.elements());
  page.arrange();
  return page;
}

// A Grid shows the recent runs of all jobs, one square a run, in groups.
class Grid {
  constructor(query) {
    this.words = query.get('q') ?? '';
    this.by = groupings[query.get('by')] ? query.get('by') : 'prefix';
    this.bad = query.get('bad') === '1';
    this.folded = new Set(query.getAll('folded'));
    this.drawn = new Map();
    this.more = new Map(); // answers with more runs of jobs than the overview tells, by name
    this.runs = inRow;
    this.cancel = new AbortController();
    this.at = [0, 0]; // row and square that the keys have reached
    this.id = newId('grid');
  }

  elements() {
    this.search = h('input', { type: 'search', class: 'search', value: this.words, placeholder: 'Name, owner, label, pool …', 'aria-label': 'Filter jobs', input: () => { this.words = this.search.value; this.changed(); } });
    this.grouping = h('select', { 'aria-label': 'Group by', change: () => { this.by = this.grouping.value; this.folded.clear(); this.changed(); } }, Object.entries(groupings).map(([id, g]) => h('option', { value: id, selected: id === this.by }, `by ${g.label}`)));
    const bad = h('input', { type: 'checkbox', id: newId('bad'), checked: this.bad, change: () => { this.bad = bad.checked; this.changed(); } });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.space = h('div', { class: 'space', role: 'rowgroup' });
    this.scroller = h('div', { class: 'scroller grid-scroller', tabindex: 0, role: 'grid', 'aria-label': 'Recent runs', scroll: () => this.later() }, this.space);
    this.none = h('div', { hidden: true });
    this.resize = new ResizeObserver(() => { this.measure(); this.draw(); });
    this.resize.observe(this.scroller);
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Grid'), this.search, this.grouping, h('label', { class: 'check', htmlFor: bad.id }, bad, 'with failures only'), savedFilters('#grid'), this.count),
      h('p', { class: 'legend dim' }, ['finished', 'failed', 'killed', 'active', 'queued', 'missed'].map(state => h('span', {}, h('i', { class: 'cell ' + state }), ' ', state)), h('span', {}, 'height: how long it took')), this.scroller, this.none];
  }

  changed() {
    this.arrange();
    this.scroller.scrollTop = 0;
    clearTimeout(this.noting);
    this.noting = setTimeout(() => this.noteAddress(), 250);
  }

  noteAddress() {
    const q = new URLSearchParams();
    if (this.words) q.set('q', this.words);
    if (this.by !== 'prefix') q.set('by', this.by);
    if (this.bad) q.set('bad', '1');
    for (const name of this.folded) q.append('folded', name);
    note('#grid' + (q.size ? '?' + q : ''));
  }

  // arrange works out the lines: a heading for each group, and its jobs.
  arrange() {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean), groups = new Map(), of = groupings[this.by].of();
    let n = 0, told = false;
    for (const row of store.jobs.values()) {
      told ||= Boolean(row.pool || row.notify);
      if (this.bad && !row.runs?.some(([letter]) => letter === 'f' || letter === 'x')) continue;
      if (words.length && !words.every(w => `${row.name}\n${row.owner ?? ''}\n${row.ownerName ?? ''}\n${row.pool ?? ''}\n${(row.notify ?? []).join('\n')}\n${labelText(row)}`.toLowerCase().includes(w))) continue;
      n++;
      for (const name of of(row)) {
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(row);
      }
    }
    this.lines = [];
    for (const [name, rows] of [...groups].sort(([a], [b]) => (a === '') - (b === '') || (a < b ? -1 : 1))) {
      this.lines.push({ key: '/' + name, name, rows });
      if (!this.folded.has(name)) for (const row of rows.sort((a, b) => a.name < b.name ? -1 : 1)) this.lines.push({ key: name + '/' + row.name, row });
    }
    this.scroller.classList.toggle('with-more', told);
    this.measure();
    this.count.textContent = n === store.jobs.size ? plural(n, 'job') : `${count(n)} of ${plural(store.jobs.size, 'job')}`;
    this.space.style.height = this.lines.length * rowHeight + 'px';
    this.scroller.setAttribute('aria-rowcount', this.lines.length);
    this.scroller.hidden = this.lines.length === 0;
    this.none.hidden = this.lines.length > 0;
    if (this.lines.length === 0) replace(this.none, empty(store.jobs.size ? 'No jobs match.' : 'There are no jobs yet.'));
    this.at[0] = Math.min(this.at[0], Math.max(0, this.lines.length - 1));
    this.draw();
  }

  // measure finds out how many rows and runs there is room for.
  measure() {
    this.inner = this.scroller.clientHeight;
    const beside = this.scroller.classList.contains('with-more') ? 860 : 640; // px of a row that the other columns need
    const runs = Math.max(inRow, Math.min(mostRuns, Math.floor((this.scroller.clientWidth - beside) / cellWidth)));
    if (runs === this.runs) return;
    this.runs = runs;
    this.scroller.style.setProperty('--cells', `${runs * cellWidth - 2}px`);
  }

  // runsOf are the runs of a job that are shown, newest first: those that the overview tells, and older ones once they are known.
  runsOf(row) {
    const known = row.runs ?? [], older = this.more.get(row.name);
    if (!older || known.length < inRow) return known.slice(0, this.runs);
    const last = known.at(-1)[1], at = older.runs.findIndex(([, due]) => due === last);
    return at < 0 ? known.slice(0, this.runs) : [...known, ...older.runs.slice(at + 1)].slice(0, this.runs);
  }

  // lacks reports whether older runs of a job are to be asked for: there may be more, and what is known does not go on where its row ends.
  lacks(row) {
    if (this.runs <= inRow || (row.runs?.length ?? 0) < inRow) return false;
    const older = this.more.get(row.name);
    return !older || older.asked < this.runs || !older.runs.some(([, due]) => due === row.runs.at(-1)[1]) && older.row !== row;
  }

  // ask gets the older runs of the rows that are drawn. One answer is under way at a time.
  async ask() {
    const rows = [...this.drawn.values()].map(d => d.row).filter(row => row && this.lacks(row)).slice(0, askedAtOnce);
    if (rows.length === 0 || this.asking) return;
    this.asking = true;
    try {
      const asked = this.runs, doc = await api.recent(rows.map(r => r.name), asked, { signal: this.cancel.signal });
      const goesOn = doc.unread > 0 && doc.unread < (this.unread ?? Infinity);
      this.unread = doc.unread ?? 0;
      for (const row of rows) this.more.set(row.name, { row, asked: goesOn ? 0 : asked, runs: doc.jobs[row.name] ?? [] });
      this.asking = false;
      this.later();
    } catch { // an aborted page, or an outage: asked again when the rows change
      setTimeout(() => { this.asking = false; }, 5000);
    }
  }

  later() { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }

  draw() {
    const top = this.scroller.scrollTop, from = Math.max(0, Math.floor(top / rowHeight) - spare), to = Math.min(this.lines.length, Math.ceil((top + this.inner) / rowHeight) + spare);
    const wanted = new Set();
    for (let i = from; i < to; i++) {
      const line = this.lines[i], was = this.drawn.get(line.key);
      wanted.add(line.key);
      const runs = line.row && this.runsOf(line.row);
      const same = was && (line.row ? was.row === line.row && sameRuns(was.runs, runs) : was.rows?.length === line.rows.length && line.rows.every((r, k) => r === was.rows[k]));
      const el = same ? was.el : line.row ? this.rowOf(line.row, runs) : this.headOf(line);
      if (!same) { if (was) was.el.replaceWith(el); else this.space.append(el); }
      el.style.transform = `translateY(${i * rowHeight}px)`;
      el.setAttribute('aria-rowindex', i + 1);
      el.dataset.index = i;
      el.id = `${this.id}-${i}`;
      this.drawn.set(line.key, { el, row: line.row, rows: line.rows, runs });
    }
    for (const [key, { el }] of this.drawn) if (!wanted.has(key)) { el.remove(); this.drawn.delete(key); }
    this.showAt();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.ask(), 80); // not while somebody scrolls
  }

  headOf({ name, rows }) {
    const failed = rows.filter(r => r.result === 'failure').length, running = rows.filter(r => r.state === 'running').length;
    return h('div', { class: 'grid-row group', role: 'row' }, h('span', { role: 'gridcell' }, h('button', { type: 'button', tabindex: -1, 'aria-expanded': String(!this.folded.has(name)), click: () => this.fold(name) },
      h('i', { class: 'arrow', 'aria-hidden': 'true' }, this.folded.has(name) ? '▸' : '▾'), ' ', name || groupings[this.by].none, ' ', h('small', { class: 'dim' }, plural(rows.length, 'job')))),
    h('span', { role: 'gridcell' }, failed > 0 && h('span', { class: 'badge failure' }, `${failed} failed`), ' ', running > 0 && h('span', { class: 'badge running' }, `${running} running`)));
  }

  fold(name) {
    if (!this.folded.delete(name)) this.folded.add(name);
    const line = this.drawn.get('/' + name);
    line?.el.remove();
    this.drawn.delete('/' + name);
    this.arrange();
    this.noteAddress();
  }

  rowOf(row, newest) {
    const runs = [...newest].reverse(), longest = Math.max(1, ...runs.map(r => r[3] ?? 0));
    return h('div', { class: 'grid-row' + (row.disabled ? ' off' : ''), role: 'row' },
      h('span', { class: 'grid-name', role: 'gridcell' }, link(row.name, hashOf(row.name), { tabindex: -1, class: 'name', title: row.name })),
      h('span', { class: 'cells', role: 'gridcell' }, runs.map(run => cellOf(row, run, longest))),
      h('span', { class: 'grid-end dim', role: 'gridcell' }, duration(row.runs?.find(r => r[3] !== undefined)?.[3])),
      h('span', { class: 'grid-end', role: 'gridcell' }, row.next ? h('span', { class: 'dim' }, countdown(row.next)) : ''),
      h('span', { class: 'grid-state', role: 'gridcell' }, stateBadges(row)),
      more(row) && h('span', { class: 'grid-more dim', role: 'gridcell', title: more(row) }, more(row)));
  }

  showAt() {
    for (const el of this.space.querySelectorAll('.here')) el.classList.remove('here');
    const el = this.drawn.get(this.lines[this.at[0]]?.key)?.el;
    if (!el) { this.scroller.removeAttribute('aria-activedescendant'); return; }
    const cells = el.querySelectorAll('.cells a'), cell = cells[cells.length - 1 - this.at[1]];
    el.classList.add('here');
    cell?.classList.add('here');
    if (cell) cell.id = `${this.id}-cell`;
    this.scroller.setAttribute('aria-activedescendant', cell?.id ?? el.id);
  }

  runsAt() {
    const row = this.lines[this.at[0]]?.row;
    return row ? this.runsOf(row) : [];
  }

  move(rows, cells) {
    this.at = [Math.max(0, Math.min(this.lines.length - 1, this.at[0] + rows)), Math.max(0, Math.min(this.runsAt().length - 1, this.at[1] + cells))];
    const top = this.at[0] * rowHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + rowHeight > this.scroller.scrollTop + this.inner) this.scroller.scrollTop = top + rowHeight - this.inner;
    this.draw();
  }

  key(event, typing) {
    if (event.key === '/' && !typing) { this.search.focus(); this.search.select(); return true; }
    if (typing) return false;
    const page = Math.max(1, Math.floor(this.inner / rowHeight) - 2);
    const by = { ArrowDown: [1, 0], ArrowUp: [-1, 0], PageDown: [page, 0], PageUp: [-page, 0], ArrowLeft: [0, 1], ArrowRight: [0, -1], Home: [-Infinity, 0], End: [Infinity, 0] }[event.key];
    if (by) { this.move(...by); return true; }
    const line = this.lines[this.at[0]];
    if (event.key !== 'Enter' || !line || event.target !== this.scroller) return false;
    if (line.rows) this.fold(line.name);
    else location.hash = this.runsAt()[this.at[1]] ? runHash(line.row, this.runsAt()[this.at[1]]) : hashOf(line.row.name);
    return true;
  }

  update(names) {
    if (names === null || names.size) this.arrange();
  }

  leave() {
    this.cancel.abort();
    clearTimeout(this.soon);
    this.resize.disconnect();
    clearTimeout(this.noting);
    cancelAnimationFrame(this.frame);
  }
}

const sameRuns = (a, b) => a?.length === b?.length && (a ?? []).every((run, i) => run === b[i]);

// more says whose slots a job's runs share, and whom it tells.
const more = row => [row.pool && `pool ${row.pool}`, row.notify && `tells ${row.notify.join(', ')}`].filter(Boolean).join(' · ');

const labelText = row => Object.entries(row.labels ?? {}).map(([k, v]) => `${k}=${v}`).join('\n');

// A row does not know the ids of its runs, only when they were due.
export const runHash = (row, run) => `${hashOf(row.name)}?run=due:${run[1]}`;

function cellOf(row, run, longest) {
  const [letter, due, , took] = run, state = runStates[letter];
  const text = `${state}, due ${short(due)}` + (took === undefined ? '' : `, took ${duration(took)}`);
  const el = h('a', { class: `cell ${state}`, href: runHash(row, run), tabindex: -1, title: text, 'aria-label': `${row.name}: ${text}` });
  if (took !== undefined && !openStates.has(state)) el.style.setProperty('--tall', `${Math.round(35 + 65 * took / longest)}%`);
  return el;
}
