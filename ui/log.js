import { output } from './api.js';
import { button, h, newId, replace } from './dom.js';
import { badge, openStates } from './format.js';

const tail = 64 << 10;      // bytes shown at first
const most = 2 << 20;       // characters kept in the page
const pace = 1000;          // ms between two requests while a run is under way

// A LogView shows a run's output, and follows it while the run is under way.
export class LogView {
  constructor(box, run, file, record, noted, closed) {
    this.box = box;
    this.run = run;
    this.record = record;
    this.noted = noted;
    this.closed = closed;
    box.hidden = false;
    this.open(file);
  }

  open(file) {
    this.stop();
    this.file = file;
    this.text = h('pre', { class: 'log', tabindex: 0, 'aria-label': `${file} of the run`, scroll: () => this.scrolled() });
    this.status = h('span', { class: 'dim', role: 'status' });
    this.follow = h('input', { type: 'checkbox', checked: true, id: newId('follow'), change: () => this.toEnd() });
    this.more = button('Load everything', () => this.all(), 'small quiet');
    this.more.hidden = true;
    const tab = name => h('button', { type: 'button', class: 'tab', 'aria-pressed': String(name === file), click: () => this.open(name) }, name);
    this.state = h('span');
    replace(this.box, h('div', { class: 'panel-head' }, h('h2', {}, 'Output'), h('div', { class: 'tabs' }, tab('stdout'), tab('stderr')), this.state, this.status, this.more,
      h('label', { class: 'check', htmlFor: this.follow.id }, this.follow, 'follow'), h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close the output', click: () => this.shut() }, '×')), this.text);
    this.see(this.record);
    this.offset = -tail;
    this.size = 0;
    this.decoder = new TextDecoder();
    this.cancel = new AbortController();
    this.noted(file);
    this.poll();
  }

  // see records the state of the run.
  see(record) {
    const ended = record && !openStates.has(record.state);
    const justEnded = ended && this.record && openStates.has(this.record.state);
    this.record = record ?? this.record;
    replace(this.state, record && badge(record.state));
    if (justEnded) this.poll();
  }

  get going() { return !this.record || openStates.has(this.record.state); }

  async poll() {
    clearTimeout(this.timer);
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    const { signal } = this.cancel;
    const going = this.going;
    try {
      if (!document.hidden) await this.read(signal);
    } catch (err) {
      if (err.name === 'AbortError') return;
      this.status.textContent = err.status === 404 && going ? 'nothing yet' : err.message;
    } finally {
      if (signal === this.cancel.signal) this.busy = false;
    }
    if (signal.aborted) return;
    if (going || this.again) this.timer = setTimeout(() => this.poll(), this.again ? 0 : pace);
    this.again = false;
  }

  async read(signal) {
    const res = await output(this.run, this.file, this.offset, { signal });
    const size = Number(res.headers.get('X-Chronos-Size'));
    const bytes = new Uint8Array(await res.arrayBuffer());
    if (signal.aborted) return;
    if (this.offset < 0) {
      this.from = Math.max(0, size - bytes.length);
      this.more.hidden = this.from === 0;
    } else if (size < this.offset) { // it was rewritten
      this.text.textContent = '';
      this.offset = 0;
      this.again = true;
      return;
    }
    // A note takes the place of what was left out of a long output, so the bytes shown do not add up.
    this.offset = Number(res.headers.get('X-Chronos-Next') ?? (this.offset < 0 ? this.from : this.offset) + bytes.length);
    this.add(this.decoder.decode(bytes, { stream: true }));
    this.status.textContent = size === 0 ? (this.going ? 'nothing yet' : 'nothing was written') : `${size.toLocaleString()} bytes`;
  }

  add(text) {
    if (!text) return;
    this.text.append(text);
    let length = 0;
    for (const node of this.text.childNodes) length += node.length;
    while (length > most && this.text.childNodes.length > 1) {
      length -= this.text.firstChild.length;
      this.text.firstChild.remove();
    }
    this.toEnd();
  }

  toEnd() {
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }

  // Scrolling up stops following, scrolling to the end resumes it.
  scrolled() {
    this.follow.checked = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 30;
  }

  all() {
    this.text.textContent = '';
    this.decoder = new TextDecoder();
    this.offset = 0;
    this.more.hidden = true;
    this.follow.checked = false;
    this.poll();
  }

  stop() {
    clearTimeout(this.timer);
    this.cancel?.abort();
    this.busy = this.again = false;
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
