import { outputURL } from './api.js';
import { button, h, newId, replace, toast } from './dom.js';
import { badge, count, openStates, plural } from './format.js';
import { copyText } from './job_actions.js';
import { icon } from './icons.js';
import { Pane } from './log_pane.js';
import { Search } from './log_search.js';

const files = { stdout: ['stdout'], stderr: ['stderr'], both: ['stdout', 'stderr'], merged: ['merged'] };
const names = { both: 'side by side' };
const mega = bytes => (bytes / 1e6).toLocaleString(undefined, { maximumFractionDigits: 1 });

// A LogView shows a run's output, one file or both, side by side or merged, and follows it while the run is under way.
export class LogView {
  constructor(box, { run, file, at, record, link, noted, closed }) {
    Object.assign(this, { box, run, record, link, noted, closed });
    this.wrap = localStorage.getItem('chronos.wrap') !== 'no';
    this.hits = [];
    this.searches = [];
    box.hidden = false;
    this.open(files[file] ? file : 'stdout', at);
  }

  open(file, at, remark = '') {
    this.stop();
    this.file = file;
    const tab = name => h('button', { type: 'button', class: 'tab', 'aria-pressed': String(name === file), click: () => this.open(name) }, names[name] ?? name);
    this.state = h('span');
    this.status = h('span', { class: 'dim', role: 'status' });
    this.follow = h('input', { type: 'checkbox', checked: at === undefined, id: newId('follow'), change: () => this.panes.forEach(p => p.setFollow(this.follow.checked)) });
    const wrap = h('input', { type: 'checkbox', checked: this.wrap, id: newId('wrap'), change: () => this.setWrap(wrap.checked) });
    this.body = h('div', { class: 'log-body' + (file === 'both' ? ' two' : '') });
    replace(this.box, h('div', { class: 'panel-head' }, h('h2', {}, 'Output'), h('div', { class: 'tabs' }, Object.keys(files).map(tab)), this.state, this.status,
      h('span', { class: 'end inline' }, h('label', { class: 'check', htmlFor: wrap.id }, wrap, 'wrap'), h('label', { class: 'check', htmlFor: this.follow.id }, this.follow, 'follow'),
        h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close the output', click: () => this.shut() }, '×'))),
    remark && h('p', { class: 'log-remark dim', role: 'status' }, remark), this.tools(), this.body);
    this.panes = files[file].map(name => new Pane({
      run: this.run, file: name, at: file === 'both' ? undefined : at, going: () => this.going, changed: () => this.changed(),
      apart: why => this.open('both', undefined, `Not merged: ${why}.`),
      link: (offset, go) => { const hash = this.link(name, offset); if (go) this.noted(name, offset); return hash; },
    }));
    replace(this.body, this.panes.map(p => p.element));
    this.setWrap(this.wrap);
    this.see(this.record);
    this.noted(file, at);
  }

  tools() {
    this.search = h('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search the output', input: () => { this.find(); this.findAll(); }, keydown: e => { if (e.key === 'Enter') { e.preventDefault(); this.step(e.shiftKey ? -1 : 1); } } });
    this.found = h('span', { class: 'dim', role: 'status' });
    this.halt = button('Stop', () => { for (const s of this.searches) s.stop(); this.progress(); }, 'small');
    this.halt.hidden = true;
    this.errors = button('', () => this.stepError(), 'small quiet bad-text');
    return h('div', { class: 'log-tools inline' }, this.search, drawn('up', 'Previous', () => this.step(-1)), drawn('down', 'Next', () => this.step(1)), this.found, this.halt, this.errors,
      h('span', { class: 'end inline' }, drawn('start', 'Start', () => this.panes.forEach(p => p.jump(false))), drawn('end', 'End', () => this.panes.forEach(p => p.jump(true))),
        drawn('copy', 'Copy', () => this.copy()), (this.file === 'merged' ? files.both : files[this.file]).map(name => h('a', { class: 'button small', href: outputURL(this.run, name), download: `${this.run.replace(/[^\w.-]+/g, '_')}.${name}.txt` }, icon('download'), files[this.file].length === 1 && this.file === name ? 'Download' : `Download ${name}`))));
  }

  setWrap(wrap) {
    this.wrap = wrap;
    try { localStorage.setItem('chronos.wrap', wrap ? 'yes' : 'no'); } catch { /* storage may be forbidden */ }
    this.body.classList.toggle('nowrap', !wrap);
  }

  // changed shows what the panes have come to know.
  changed() {
    if (!this.panes) return;
    const said = this.panes.map(p => p.status || (p.size === 0 ? (this.going ? 'nothing yet' : 'nothing was written') : `${count(p.size)} bytes` + (p.from > 0 || !p.atEnd ? `, shown ${count(p.from)} to ${count(p.to)}` : '')));
    this.status.textContent = said.join(' · ');
    this.follow.checked = this.panes.every(p => p.follow);
    const n = this.panes.reduce((sum, p) => sum + p.element.querySelectorAll('.err').length, 0);
    this.errors.hidden = n === 0;
    this.errors.textContent = n === 1 ? '1 line with an error' : `${count(n)} lines with errors`;
    if (this.search.value) this.find(true);
  }

  // find marks what is searched for in all that is loaded, and goes to the first of it if that is everything.
  find(quietly) {
    const text = this.search.value.toLowerCase(), ranges = [];
    const lines = text ? this.panes.flatMap(pane => pane.lines().filter(el => el.lastChild.textContent.toLowerCase().includes(text)).map(el => ({ pane, el, offset: Number(el.dataset.offset) }))) : [];
    for (const { el } of lines.slice(0, 5000)) ranges.push(...rangesIn(el.lastChild, text));
    if (globalThis.Highlight) CSS.highlights.set('found', new Highlight(...ranges));
    if (!quietly) this.current = -1;
    if (!text || this.panes.every(p => p.whole) && !this.searches.length) {
      this.hits = lines;
      this.say();
      if (!quietly && this.hits.length) this.step(1);
    } else if (this.searches.length) this.searches.forEach(s => s.run());
    else if (quietly) this.findAll();
  }

  // findAll searches what is not loaded, part by part, when the typing has paused.
  findAll() {
    clearTimeout(this.pausing);
    for (const s of this.searches) s.stop();
    this.searches = [];
    this.wanted = 0;
    const text = this.search.value.toLowerCase();
    if (!text || this.panes.every(p => p.whole)) { this.progress(); return; }
    this.hits = [];
    this.searches = this.panes.map(pane => new Search(pane, text, () => this.progress()));
    this.progress();
    const mine = this.searches;
    this.pausing = setTimeout(async () => { for (const s of mine) await s.run(); }, 200);
  }

  // progress shows what a search has found so far.
  progress() {
    if (this.searches.length) this.hits = this.searches.flatMap(s => s.hits.map(offset => ({ pane: s.pane, offset })));
    this.say();
    if (this.wanted && this.hits.length) this.step(this.wanted);
  }

  // say tells what was found.
  say() {
    const all = this.searches, sum = key => all.reduce((n, s) => n + s[key], 0), n = this.hits.length;
    const going = all.some(s => s.busy), far = `${mega(sum('at'))} of ${mega(sum('size'))} MB`;
    const part = going ? `, searched ${far}` : all.some(s => s.stopped || s.full) ? ` in the first ${far}` : '';
    this.halt.hidden = !going;
    this.searching = going;
    this.found.textContent = all.find(s => s.error)?.error || (!this.search.value ? '' : n === 0 ? (going ? 'nothing yet' : 'not found') + part
      : `${this.current >= 0 ? `${count(this.current + 1)} of ` : ''}${plural(n, 'line')}${part}`);
  }

  // step goes to the next line that was found, at first to that nearest to what is in sight.
  step(by) {
    const n = this.hits.length, was = this.current;
    this.wanted = 0;
    if (this.current < 0 && n && this.searches.length) {
      const here = this.panes[0].top, ahead = this.hits.findIndex(hit => hit.pane !== this.panes[0] || hit.offset >= here);
      this.current = by > 0 ? (ahead < 0 ? n : ahead) - 1 : ahead < 0 ? n : ahead;
    }
    if (this.searching && (this.current + by >= n || n === 0)) { // it is still to be found
      this.wanted = by;
      this.current = was;
      return;
    }
    if (!n) return;
    this.current = (this.current + by + n) % n;
    this.goTo(this.hits[this.current]);
    this.say();
  }

  stepError() {
    const all = this.panes.flatMap(pane => [...pane.element.querySelectorAll('.err')].map(el => ({ pane, offset: Number(el.dataset.offset) })));
    if (!all.length) return;
    this.errorAt = ((this.errorAt ?? -1) + 1) % all.length;
    this.goTo(all[this.errorAt]);
  }

  goTo({ pane, offset }) {
    for (const old of this.body.querySelectorAll('.line.marked')) old.classList.remove('marked');
    pane.goTo(offset);
  }

  async copy() {
    const text = this.panes.flatMap(p => p.lines().map(el => el.lastChild.textContent)).join('\n');
    await copyText(text);
    toast(this.panes.some(p => p.from > 0 || !p.atEnd) ? 'Copied the part that is shown.' : 'Copied.');
  }

  // see records the state of the run.
  see(record) {
    const ended = record && !openStates.has(record.state);
    const justEnded = ended && this.record && openStates.has(this.record.state);
    this.record = record ?? this.record;
    replace(this.state, record && badge(record.state));
    if (justEnded) this.panes.forEach(p => p.poll());
  }

  get going() { return !this.record || openStates.has(this.record.state); }

  stop() {
    clearTimeout(this.pausing);
    for (const s of this.searches) s.stop();
    this.searches = [];
    this.panes?.forEach(p => p.close());
    this.panes = null;
    globalThis.CSS?.highlights?.delete('found');
  }

  close() {
    this.stop();
    this.box.hidden = true;
    this.box.replaceChildren();
  }

  shut() {
    this.close();
    this.closed();
  }
}

// drawn makes a button of an icon, which says what it is for.
function drawn(name, label, click) {
  const el = button(icon(name), click, 'small');
  el.title = label;
  el.setAttribute('aria-label', label);
  return el;
}

// rangesIn finds a text within an element, where it is not divided by a change of colour.
function rangesIn(el, text) {
  const ranges = [], walker = document.createTreeWalker(el, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const lower = node.data.toLowerCase();
    for (let i = lower.indexOf(text); i >= 0; i = lower.indexOf(text, i + text.length)) {
      const range = new Range();
      range.setStart(node, i);
      range.setEnd(node, Math.min(node.length, i + text.length));
      ranges.push(range);
    }
  }
  return ranges;
}
