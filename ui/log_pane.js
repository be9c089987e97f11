import { output } from './api.js';
import { h } from './dom.js';
import { isError, Terminal } from './log_lines.js';

const part = 128 << 10;  // bytes read at once
const most = 2 << 20;    // bytes kept in the page
const mostCounted = 8 << 20; // bytes read only to count their lines
const pace = 1000;       // ms between two requests while a run is under way
const lineHeight = 19;   // px, about

// A Pane shows one file of a run's output: a stretch of whole lines, which grows at its ends as one scrolls, and forgets the other end.
export class Pane {
  constructor({ run, file, going, at, link, changed, apart }) {
    Object.assign(this, { run, file, going, link, changed, apart });
    this.element = h('div', { class: 'log' + (file === 'merged' ? ' merged' : ''), tabindex: 0, role: 'region', 'aria-label': `${file === 'merged' ? 'merged output' : file} of the run`, scroll: () => this.scrolled() });
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
        if (err.status === 404 && this.file === 'merged') { this.apart(err.message); return; }
        this.say(err.status === 404 && this.going() ? 'nothing yet' : err.message);
      }
    });
    return this.turn;
  }

  say(status) {
    this.status = status;
    this.changed();
  }

  // fetch reads a part: place tells the offset of a byte of it, stderr which of a merged output are from there.
  async fetch(offset, length, signal = this.cancel.signal) {
    const res = await output(this.run, this.file, offset, { signal, length });
    const bytes = new Uint8Array(await res.arrayBuffer()), header = name => res.headers.get('X-Chronos-' + name);
    const size = Number(header('Size')), from = offset < 0 ? Math.max(0, size + offset) : offset, next = Number(header('Next') ?? from + bytes.length);
    const { index, by } = leftOut(bytes, next - from), stretches = (header('Stderr') ?? '').split(',').filter(Boolean).map(s => s.split('-').map(Number));
    return { bytes, size, next, place: i => from + i + (i >= index ? by : 0), stderr: i => stretches.some(([first, end]) => first <= i && i < end) };
  }

  // read shows the stretch that begins at an offset, counted from the end if it is negative.
  async read(offset) {
    this.clear();
    const piece = await this.fetch(offset, part);
    this.size = piece.size;
    const skipped = piece.place(0) > 0 ? piece.bytes.indexOf(10) + 1 : 0; // the line before is not whole
    this.from = this.to = piece.place(skipped);
    if (this.from === 0) this.before = 0; else this.countBefore();
    this.append(piece, skipped);
  }

  // countBefore finds out how many lines precede what is shown, if that is not too much to read and nothing of it was left out.
  async countBefore() {
    const { generation, from, moved } = this;
    if (from > mostCounted) return;
    let lines = 0;
    try {
      for (let at = 0; at < from;) {
        const { bytes, next } = await this.fetch(at, from - at);
        if (next - at !== bytes.length || next <= at) return;
        for (let i = bytes.indexOf(10); i >= 0; i = bytes.indexOf(10, i + 1)) lines++;
        at = next;
      }
    } catch { return; } // there are no numbers, then
    if (generation !== this.generation || this.cancel.signal.aborted) return;
    this.before = lines + this.moved - moved;
    this.number();
  }

  clear() {
    this.generation = (this.generation ?? 0) + 1;
    this.before = undefined; // lines that precede the first one shown, if that is known
    this.moved = 0;          // by how many the first line shown has moved on
    this.numbered = 0;       // lines shown that have their numbers
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
    const piece = await this.fetch(this.to, wanted ? part : 1);
    if (piece.size < this.to) { await this.read(-part); return; } // it was rewritten
    this.size = piece.size;
    if (wanted) this.append(piece); else this.changed();
  }

  append({ bytes, next, place, stderr }, skipped = 0) {
    const before = this.rest.length, { restAt, restErr } = this, all = new Uint8Array(before + bytes.length - skipped);
    all.set(this.rest);
    all.set(bytes.subarray(skipped), before);
    const at = i => i < before ? restAt + i : place(i - before + skipped), errs = i => i < before ? restErr : stderr(i - before + skipped);
    const end = all.lastIndexOf(10) + 1;
    this.unended?.remove();
    this.unended = null;
    if (end > 0) this.add(all.subarray(0, end), at, errs, false);
    this.rest = all.slice(end);
    this.restAt = at(end);
    this.restErr = errs(end);
    this.to = next;
    if (this.rest.length) this.element.append(this.unended = this.lineOf(new TextDecoder().decode(this.rest), this.restAt, new Terminal(), this.restErr));
    while (this.to - this.from > most && this.parts.length > 1) {
      const gone = this.parts.shift();
      gone.el.remove();
      this.from = this.parts[0].from;
      this.shift(gone.lines.length);
    }
    this.number();
    this.say('');
    this.toEnd();
  }

  // add shows whole lines after or before those that are shown.
  add(bytes, at, errs, before) {
    const lines = [], terminal = before ? new Terminal() : this.terminal, decoder = new TextDecoder();
    for (let i = 0; i < bytes.length;) {
      let end = bytes.indexOf(10, i);
      if (end < 0) end = bytes.length;
      lines.push(this.lineOf(decoder.decode(bytes.subarray(i, end)), at(i), terminal, errs(i)));
      i = end + 1;
    }
    const el = h('div', { class: 'log-part' }, lines);
    el.style.containIntrinsicHeight = `auto ${lines.length * lineHeight}px`;
    const added = { el, lines, from: at(0), to: at(bytes.length) };
    if (before) { this.parts.unshift(added); this.element.prepend(el); } else { this.parts.push(added); this.element.append(el); }
  }

  lineOf(text, offset, terminal, stderr) {
    const shown = h('span', { class: 'text' }, terminal.show(text));
    return h('div', { class: 'line' + (isError(shown.textContent) ? ' err' : '') + (stderr ? ' from-stderr' : ''), dataset: { offset } },
      h('a', { class: 'no', href: this.link(offset), click: event => { event.preventDefault(); this.mark(offset); this.link(offset, true); } }), shown);
  }

  // shift notes that the first line shown is another one, so many lines further on.
  shift(lines) {
    this.moved += lines;
    if (this.before !== undefined) this.before += lines;
    this.numbered = Math.max(0, this.numbered - Math.max(0, lines));
  }

  // number gives lines their numbers, if it is known how many precede them.
  number() {
    const lines = this.lines(), { before } = this;
    if (this.numberedFrom !== before - this.moved) this.numbered = 0;
    for (let i = this.numbered; i < lines.length; i++) lines[i].firstChild.textContent = before === undefined ? '·' : before + i + 1;
    this.numbered = lines.length - (this.unended ? 1 : 0);
    this.numberedFrom = before - this.moved;
  }

  lines() { return [...this.parts.flatMap(p => p.lines), ...this.unended ? [this.unended] : []]; }

  // earlier reads what precedes the first line that is shown.
  async earlier() {
    if (this.from === 0) return;
    const pieces = [], first = Math.max(0, this.from - part);
    for (let at = first; at < this.from; at = pieces.at(-1).next) {
      pieces.push(await this.fetch(at, this.from - at));
      if (pieces.at(-1).next <= at) throw new Error('The output has become shorter.');
    }
    const skipped = first > 0 ? pieces[0].bytes.indexOf(10) + 1 : 0;
    const { scrollHeight, scrollTop } = this.element, shown = this.lines().length;
    for (const { bytes, place, stderr } of pieces.reverse()) {
      const cut = pieces.at(-1).bytes === bytes ? skipped : 0;
      this.add(bytes.subarray(cut), i => place(i + cut), i => stderr(i + cut), true);
    }
    this.from = pieces.at(-1).place(skipped);
    this.shift(shown - this.lines().length);
    this.numbered = 0;
    if (this.from === 0) this.before = 0;
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
      const piece = await this.fetch(this.to, part);
      this.size = piece.size;
      this.append(piece);
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

  reveal(offset) {
    this.follow = false;
    this.mark(offset)?.scrollIntoView({ block: 'center' });
    this.changed();
  }

  // goTo shows the line at an offset, which is read if it is not there.
  goTo(offset) {
    this.follow = false;
    if (this.parts.length + Boolean(this.unended) && offset >= this.from && offset < this.to) { this.reveal(offset); return; }
    this.load(async () => {
      await this.read(Math.max(0, offset - part / 4));
      this.reveal(offset);
    });
  }

  // top is the offset of the first line in sight.
  get top() {
    const above = this.element.getBoundingClientRect().top;
    return Number(this.lines().find(el => el.getBoundingClientRect().bottom > above)?.dataset.offset ?? this.from);
  }

  get whole() { return this.from === 0 && this.atEnd; }

  close() {
    clearTimeout(this.timer);
    this.cancel.abort();
  }
}

// leftOut finds what stands in an output in place of bytes that were left out: from an index on, offsets are higher.
function leftOut(bytes, covered) {
  if (bytes.length === covered) return { index: Infinity, by: 0 };
  for (const found of new TextDecoder('latin1').decode(bytes).matchAll(/\n\[(\d+) bytes were left out here\]\n/g)) {
    if (Number(found[1]) - found[0].length === covered - bytes.length) return { index: found.index + found[0].length, by: covered - bytes.length };
  }
  return { index: Infinity, by: 0 };
}
