import * as api from './api.js';
import { button, empty, h, replace } from './dom.js';
import { count, duration, now, plural, runStates, short, viewerZone } from './format.js';
import { store } from './live.js';
import { note } from './app.js';
import { TimeDrawing } from './timeline_draw.js';

const hour = 36e5;
const spans = { '10 minutes': hour / 6, '2 hours': 2 * hour, '12 hours': 12 * hour, '2 days': 48 * hour, 'a week': 168 * hour };
const least = hour / 6, most = 168 * hour;

export default function timeline(main, parts, query) {
  const page = new Timeline(query);
  replace(main, page.elements());
  page.drawing.attach();
  page.load();
  return page;
}

// A Timeline shows when jobs ran and will run.
class Timeline {
  constructor(query) {
    this.words = query.get('q') ?? '';
    this.span = Math.min(most, Math.max(least, Number(query.get('span')) || 48 * hour));
    this.middle = Number(query.get('at')) || 0; // 0 to go along with the time
    this.lanes = [];
  }

  get from() { return (this.middle || now()) - this.span / 2; }
  get to() { return this.from + this.span; }

  elements() {
    this.search = h('input', { type: 'search', class: 'search', value: this.words, placeholder: 'Name or owner', 'aria-label': 'Filter jobs', input: () => { this.words = this.search.value; this.changed(); } });
    this.zooms = h('select', { 'aria-label': 'Time shown', change: () => { if (spans[this.zooms.value]) this.show(this.middle, spans[this.zooms.value]); } });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.drawing = new TimeDrawing(this);
    this.say = h('p', { class: 'time-say', role: 'status' });
    this.none = h('div', { hidden: true });
    this.more = button('Show more jobs', () => this.load(true), 'small');
    this.more.hidden = true;
    const move = (label, title, by) => h('button', { type: 'button', class: 'button small', 'aria-label': title, title, click: () => this.show((this.middle || now()) + by * this.span / 2, this.span) }, label);
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Timeline'), this.search, this.zooms, h('span', { class: 'inline' }, move('←', 'Earlier', -1), button('Now', () => this.show(0, this.span), 'small'), move('→', 'Later', 1)), this.count),
      h('p', { class: 'legend dim' }, ['finished', 'failed', 'killed', 'active', 'missed'].map(s => h('span', {}, h('i', { class: 'cell ' + s }), ' ', s)), h('span', {}, '| due'), h('span', {}, '‒ late: from due to start')),
      this.drawing.element, this.say, this.more, this.none];
  }

  // show moves to another time.
  show(middle, span) {
    this.middle = Math.round(middle);
    this.span = Math.min(most, Math.max(least, span));
    this.changed();
  }

  zoom(factor, share = 0.5) {
    const at = this.from + share * this.span, span = Math.min(most, Math.max(least, this.span * factor));
    this.show(this.middle === 0 && share === 0.5 ? 0 : at + (0.5 - share) * span, span);
  }

  changed() {
    this.drawing.later();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.noteAddress(); this.load(); }, 250);
  }

  noteAddress() {
    const q = new URLSearchParams();
    if (this.words) q.set('q', this.words);
    if (this.span !== 48 * hour) q.set('span', Math.round(this.span));
    if (this.middle) q.set('at', this.middle);
    note('#timeline' + (q.size ? '?' + q : ''));
  }

  showZoom() {
    const known = Object.entries(spans).find(([, ms]) => Math.abs(ms - this.span) < 1000)?.[0] ?? duration(this.span);
    replace(this.zooms, [...new Set([...Object.keys(spans), known])].map(text => h('option', { value: text, selected: text === known }, text)));
  }

  async load(more) {
    this.asking?.abort();
    this.asking = new AbortController();
    this.showZoom();
    const query = { from: new Date(this.from).toISOString(), to: new Date(this.to).toISOString(), buckets: 240, lanes: 100 };
    if (this.words) query.q = this.words;
    if (more) query.after = this.doc.next;
    try {
      const doc = await api.timeline(query, { signal: this.asking.signal });
      this.lanes = more ? [...this.lanes, ...doc.lanes] : doc.lanes;
      this.doc = doc;
      this.loaded = Date.now();
      this.shown();
    } catch (err) {
      if (err.name === 'AbortError') return;
      this.loaded ??= Date.now();
      this.say.textContent = err.message;
    }
  }

  shown() {
    const { jobs, next, partial } = this.doc;
    this.count.textContent = `${plural(jobs, 'job')} with something in this time`;
    this.more.hidden = !next;
    this.drawing.element.hidden = jobs === 0;
    this.none.hidden = jobs > 0;
    if (jobs === 0) replace(this.none, empty(store.jobs.size ? 'Nothing ran or will run in this time.' : 'There are no jobs yet.'));
    this.say.textContent = partial ? 'More falls due than is shown.' : `Times are in ${viewerZone}.`;
    this.drawing.show(this.lanes, this.doc);
  }

  // tell says what is under the pointer.
  tell(text) { this.say.textContent = text || `Times are in ${viewerZone}.`; }

  describe(lane, mark) {
    if (mark.next) return `${lane.name}: due ${short(mark.next)}`;
    const state = runStates[mark.state];
    return `${lane.name}: ${state}, due ${short(mark.due)}` + (mark.occurrences > 1 ? `, ${count(mark.occurrences)} occurrences` : '') + (mark.started ? `, started ${short(mark.started)}` + (mark.started - mark.due > 1000 ? ` (${duration(mark.started - mark.due)} late)` : '') : '') + (mark.ended && mark.started ? `, took ${duration(mark.ended - mark.started)}` : '');
  }

  key(event, typing) {
    if (event.key === '/' && !typing) { this.search.focus(); return true; }
    if (typing || !this.drawing.element.contains(event.target)) return false;
    const by = { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
    if (by) this.show((this.middle || now()) + by * this.span, this.span);
    else if (event.key === '+' || event.key === '=') this.zoom(0.5);
    else if (event.key === '-') this.zoom(2);
    else if (event.key === '0') this.show(0, 48 * hour);
    else return false;
    return true;
  }

  // update asks again when something has changed, though not more often than every three seconds, and not before the first answer.
  update(names) {
    if (!this.loaded || names !== null && names.size === 0 || this.timer && Date.now() - this.loaded < 3000) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.timer = 0; this.load(); }, Math.max(0, 3000 - (Date.now() - (this.loaded ?? 0))));
  }

  leave() {
    this.asking?.abort();
    clearTimeout(this.timer);
    this.drawing.detach();
  }
}
