import { output } from './api.js';
import { h } from './dom.js';
import { isError, Terminal } from './log_lines.js';

const part = 128 << 10;  // bytes read at once
const most = 2 << 20;    // bytes kept in the page
const pace = 1000;       // ms between two requests while a run is under way
const lineHeight = 19;   // px, about

// A Pane shows one file of a run's output: a stretch of whole lines, which grows at its ends as one scrolls, and forgets the other end.
export class Pane {
  constructor({ run, file, going, at, link, changed }) {
    Object.assign(this, { run, file, going, link, changed });
    this.element = h('div', { class: 'log', tabindex: 0, role: 'region', 'aria-label': `${file} of the run`, scroll: () => this.scrolled() });
    this.cancel = new AbortController();
    this.parts = [];         // each { el, lines, from, to }, in order
    this.rest = new Uint8Array(0); // the beginning of a line that has not ended
    this.from = this.to = this.size = 0;
    this.follow = at === undefined;
    this.status = '';
    this.wanted = at;
    this.start(at);
  }

  async start(at) {
    await this.guarded(() => at === undefined ? this.read(-part) : this.read(Math.max(0, at - part / 4)));
    if (at !== undefined) this.reveal(at);
    this.poll();
  }

  // guarded does one thing after the other, and shows what goes wrong.
  guarded(what) {
    this.turn = (this.turn ?? Promise.resolve()).then(async () => {
      if (this.cancel.signal.aborted) return;
      try { await what(); } catch (err) {
        if (err.name === 'AbortError') return;
        this.say(err.status === 404 && this.going() ? 'nothing yet' : err.message);
      }
    });
    return this.turn;
  }

  say(status) {
    this.status = status;
    this.changed();
  }

  async fetch(offset, length) {
    const res = await output(this.run, this.file, offset, { signal: this.cancel.signal, length });
    const bytes = new Uint8Array(await res.arrayBuffer());
    const size = Number(res.headers.get('X-Chronos-Size')), next = res.headers.get('X-Chronos-Next');
    return { bytes, size, next: next === null ? undefined : Number(next) };
  }

  // read shows the stretch that begins at an offset, counted from the end if it is negative.
  async read(offset) {
    this.clear();
    const { bytes, size, next } = await this.fetch(offset, part);
    this.from = offset < 0 ? Math.max(0, size - bytes.length) : offset;
    this.to = this.from;
    this.size = size;
    const skipped = this.from > 0 ? bytes.indexOf(10) + 1 : 0; // the line before is not whole
    this.from += skipped;
    this.to = this.from;
    this.append(bytes.subarray(skipped), next ?? this.from + bytes.length - skipped);
  }

  clear() {
    for (const p of this.parts) p.el.remove();
    this.parts = [];
    this.terminal = new Terminal();
    this.rest = new Uint8Array(0);
    this.unended?.remove();
    this.unended = null;
  }

  get atEnd() { return this.to >= this.size; }

  async poll() {
    clearTimeout(this.timer);
    const going = this.going();
    if (!document.hidden) await this.guarded(() => this.grow());
    if (this.cancel.signal.aborted) return;
    const more = this.follow && !this.atEnd;
    if (going || more) this.timer = setTimeout(() => this.poll(), more ? 0 : pace);
  }

  // grow reads what follows, if that is to be seen, and otherwise only how much there is.
  async grow() {
    const wanted = this.follow || this.parts.length === 0 || this.atEnd;
    if (this.follow && this.size - this.to > 2 * part) { await this.read(-part); return; }
    const { bytes, size, next } = await this.fetch(this.to, wanted ? part : 1);
    if (size < this.to) { await this.read(-part); return; } // it was rewritten
    this.size = size;
    if (wanted) this.append(bytes, next ?? this.to + bytes.length); else this.changed();
  }

  append(bytes, to) {
    const all = new Uint8Array(this.rest.length + bytes.length);
    all.set(this.rest);
    all.set(bytes, this.rest.length);
    const start = this.to - this.rest.length, end = all.lastIndexOf(10) + 1;
    this.unended?.remove();
    this.unended = null;
    if (end > 0) this.add(all.subarray(0, end), start, false);
    this.rest = all.slice(end);
    this.to = to;
    if (this.rest.length) this.element.append(this.unended = this.lineOf(new TextDecoder().decode(this.rest), start + end, new Terminal()));
    while (this.to - this.from > most && this.parts.length > 1) {
      this.parts.shift().el.remove();
      this.from = this.parts[0].from;
    }
    this.number();
    this.say('');
    this.toEnd();
  }

  // add shows whole lines after or before those that are shown.
  add(bytes, offset, before) {
    const lines = [], terminal = before ? new Terminal() : this.terminal, decoder = new TextDecoder();
    for (let i = 0; i < bytes.length;) {
      let end = bytes.indexOf(10, i);
      if (end < 0) end = bytes.length;
      lines.push(this.lineOf(decoder.decode(bytes.subarray(i, end)), offset + i, terminal));
      i = end + 1;
    }
    const el = h('div', { class: 'log-part' }, lines);
    el.style.containIntrinsicHeight = `auto ${lines.length * lineHeight}px`;
    const added = { el, lines, from: offset, to: offset + bytes.length };
    if (before) { this.parts.unshift(added); this.element.prepend(el); } else { this.parts.push(added); this.element.append(el); }
  }

  lineOf(text, offset, terminal) {
    const shown = h('span', { class: 'text' }, terminal.show(text));
    return h('div', { class: isError(shown.textContent) ? 'line err' : 'line', dataset: { offset } },
      h('a', { class: 'no', href: this.link(offset), click: event => { event.preventDefault(); this.mark(offset); this.link(offset, true); } }), shown);
  }

  // number gives lines their numbers, which are known if the output is shown from its beginning.
  number() {
    const lines = this.lines(), known = this.from === 0;
    if (this.numbered === lines.length && this.known === known) return;
    const first = known && this.known ? this.numbered : 0;
    for (let i = first; i < lines.length; i++) lines[i].firstChild.textContent = known ? i + 1 : '·';
    this.numbered = lines.length - (this.unended ? 1 : 0);
    this.known = known;
  }

  lines() { return [...this.parts.flatMap(p => p.lines), ...this.unended ? [this.unended] : []]; }

  // earlier reads what precedes the first line that is shown.
  async earlier() {
    if (this.from === 0) return;
    const offset = Math.max(0, this.from - part);
    const { bytes } = await this.fetch(offset, this.from - offset);
    const skipped = offset > 0 ? bytes.indexOf(10) + 1 : 0;
    const { scrollHeight, scrollTop } = this.element;
    this.add(bytes.subarray(skipped), offset + skipped, true);
    this.from = offset + skipped;
    this.known = undefined;
    while (this.to - this.from > most && this.parts.length > 1) this.forgetLast();
    this.number();
    this.element.scrollTop = scrollTop + this.element.scrollHeight - scrollHeight;
    this.changed();
  }

  forgetLast() {
    const gone = this.parts.pop();
    gone.el.remove();
    this.unended?.remove();
    this.unended = null;
    this.rest = new Uint8Array(0);
    this.to = gone.from;
  }

  // Scrolling up stops following, scrolling to the end resumes it.
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    const below = scrollHeight - scrollTop - clientHeight;
    if (this.moving) { this.moving = false; return; }
    const followed = this.follow;
    this.follow = below < 30 && this.atEnd;
    if (followed !== this.follow) this.changed();
    if (scrollTop < 400 && this.from > 0 && !this.loading) this.load(() => this.earlier());
    else if (below < 400 && !this.atEnd && !this.loading) this.load(async () => {
      const { bytes, size, next } = await this.fetch(this.to, part);
      this.size = size;
      this.append(bytes, next ?? this.to + bytes.length);
    });
  }

  load(what) {
    this.loading = true;
    this.guarded(what).finally(() => { this.loading = false; });
  }

  toEnd() {
    if (!this.follow) return;
    this.moving = this.element.scrollTop + this.element.clientHeight < this.element.scrollHeight;
    this.element.scrollTop = this.element.scrollHeight;
  }

  setFollow(follow) {
    this.follow = follow;
    if (follow) { this.toEnd(); this.poll(); }
  }

  // jump goes to the beginning or the end.
  jump(toEnd) {
    this.follow = toEnd;
    this.load(async () => {
      if (toEnd ? !this.atEnd : this.from > 0) await this.read(toEnd ? -part : 0);
      this.moving = true;
      this.element.scrollTop = toEnd ? this.element.scrollHeight : 0;
    });
  }

  mark(offset) {
    for (const el of this.element.querySelectorAll('.line.marked')) el.classList.remove('marked');
    const line = this.lines().findLast(el => Number(el.dataset.offset) <= offset);
    line?.classList.add('marked');
    return line;
  }

  reveal(offset) { this.show(this.mark(offset)); }

  show(line) {
    this.follow = false;
    line?.scrollIntoView({ block: 'center' });
    this.changed();
  }

  close() {
    clearTimeout(this.timer);
    this.cancel.abort();
  }
}
