import { outputURL } from './api.js';
import { button, h, newId, replace, toast } from './dom.js';
import { badge, count, openStates, plural } from './format.js';
import { copyText } from './job_actions.js';
import { Pane } from './log_pane.js';

const files = { stdout: ['stdout'], stderr: ['stderr'], both: ['stdout', 'stderr'] };

// A LogView shows a run's output, one file or both side by side, and follows it while the run is under way.
export class LogView {
  constructor(box, { run, file, at, record, link, noted, closed }) {
    Object.assign(this, { box, run, record, link, noted, closed });
    this.wrap = localStorage.getItem('chronos.wrap') !== 'no';
    this.hits = [];
    box.hidden = false;
    this.open(files[file] ? file : 'stdout', at);
  }

  open(file, at) {
    this.stop();
    this.file = file;
    const tab = name => h('button', { type: 'button', class: 'tab', 'aria-pressed': String(name === file), click: () => this.open(name) }, name);
    this.state = h('span');
    this.status = h('span', { class: 'dim', role: 'status' });
    this.follow = h('input', { type: 'checkbox', checked: at === undefined, id: newId('follow'), change: () => this.panes.forEach(p => p.setFollow(this.follow.checked)) });
    const wrap = h('input', { type: 'checkbox', checked: this.wrap, id: newId('wrap'), change: () => this.setWrap(wrap.checked) });
    this.body = h('div', { class: 'log-body' + (file === 'both' ? ' two' : '') });
    replace(this.box, h('div', { class: 'panel-head' }, h('h2', {}, 'Output'), h('div', { class: 'tabs' }, Object.keys(files).map(tab)), this.state, this.status,
      h('span', { class: 'end inline' }, h('label', { class: 'check', htmlFor: wrap.id }, wrap, 'wrap'), h('label', { class: 'check', htmlFor: this.follow.id }, this.follow, 'follow'),
        h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close the output', click: () => this.shut() }, '×'))),
    this.tools(), this.body);
    this.panes = files[file].map(name => new Pane({
      run: this.run, file: name, at: file === 'both' ? undefined : at, going: () => this.going, changed: () => this.changed(),
      link: (offset, go) => { const hash = this.link(name, offset); if (go) this.noted(name, offset); return hash; },
    }));
    replace(this.body, this.panes.map(p => p.element));
    this.setWrap(this.wrap);
    this.see(this.record);
    this.noted(file, at);
  }

  tools() {
    this.search = h('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search the output', input: () => this.find(), keydown: e => { if (e.key === 'Enter') { e.preventDefault(); this.step(e.shiftKey ? -1 : 1); } } });
    this.found = h('span', { class: 'dim', role: 'status' });
    this.errors = button('', () => this.stepError(), 'small quiet bad-text');
    return h('div', { class: 'log-tools inline' }, this.search, button('Previous', () => this.step(-1), 'small'), button('Next', () => this.step(1), 'small'), this.found, this.errors,
      h('span', { class: 'end inline' }, button('Start', () => this.panes.forEach(p => p.jump(false)), 'small'), button('End', () => this.panes.forEach(p => p.jump(true)), 'small'),
        button('Copy', () => this.copy(), 'small'), files[this.file].map(name => h('a', { class: 'button small', href: outputURL(this.run, name), download: `${this.run.replace(/[^\w.-]+/g, '_')}.${name}.txt` }, this.file === 'both' ? `Download ${name}` : 'Download'))));
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

  // find marks what is searched for in all that is loaded.
  find(quietly) {
    const text = this.search.value.toLowerCase(), ranges = [];
    this.hits = text ? this.panes.flatMap(pane => pane.lines().filter(el => el.lastChild.textContent.toLowerCase().includes(text)).map(el => ({ pane, el }))) : [];
    for (const { el } of this.hits.slice(0, 5000)) ranges.push(...rangesIn(el.lastChild, text));
    if (globalThis.Highlight) CSS.highlights.set('found', new Highlight(...ranges));
    if (!quietly) this.current = -1;
    const part = this.panes.some(p => p.from > 0 || !p.atEnd) ? ' in the part shown' : '';
    this.found.textContent = !text ? '' : this.hits.length === 0 ? `not found${part}` : `${this.current >= 0 ? `${this.current + 1} of ` : ''}${plural(this.hits.length, 'line')}${part}`;
    if (!quietly && this.hits.length) this.step(1);
  }

  step(by) {
    if (!this.hits.length) return;
    this.current = (this.current + by + this.hits.length) % this.hits.length;
    this.goTo(this.hits[this.current]);
    this.find(true);
  }

  stepError() {
    const all = this.panes.flatMap(pane => [...pane.element.querySelectorAll('.err')].map(el => ({ pane, el })));
    if (!all.length) return;
    this.errorAt = ((this.errorAt ?? -1) + 1) % all.length;
    this.goTo(all[this.errorAt]);
  }

  goTo({ pane, el }) {
    for (const old of this.body.querySelectorAll('.line.marked')) old.classList.remove('marked');
    el.classList.add('marked');
    pane.show(el);
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
