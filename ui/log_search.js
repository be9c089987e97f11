import { overwritten, stripped } from './log_lines.js';

const part = 1 << 20; // bytes read at once
const most = 100000;  // lines to find

// A Search looks through all of an output by parts, and keeps only where the lines begin that have a text.
export class Search {
  constructor(pane, text, progress) {
    Object.assign(this, { pane, text, progress });
    this.hits = [];
    this.at = 0;   // where it goes on
    this.size = pane.size;
    this.cancel = new AbortController();
    this.error = '';
  }

  get full() { return this.hits.length >= most; }

  // busy is whether there is more to come without a change of the output.
  get busy() { return !this.stopped && !this.full && !this.error && (this.running || this.state === undefined); }

  stop() { this.cancel.abort(); }

  get stopped() { return this.cancel.signal.aborted; }

  // run looks until the end of what is there, and again when there is more.
  async run() {
    const state = `${this.pane.size} ${this.pane.going()}`;
    if (this.running || this.stopped || this.full || this.state === state) return;
    this.state = state;
    this.running = true;
    try {
      while (!this.stopped && !this.full && await this.next()) this.progress();
    } catch (err) {
      if (err.name !== 'AbortError') this.error = err.message;
    }
    this.running = false;
    this.progress();
  }

  // next looks through one part, and tells whether there is another.
  async next() {
    const piece = await this.pane.fetch(this.at, part, this.cancel.signal), { bytes, size, next } = piece;
    this.size = size;
    const last = next >= size;
    // The last line is looked at when it has ended, or the run has.
    let n = last && !this.pane.going() ? bytes.length : bytes.lastIndexOf(10) + 1;
    if (n === 0 && !last) n = bytes.length;
    for (const index of linesWith(bytes.subarray(0, n), this.text)) if (!this.full) this.hits.push(piece.place(index));
    this.at = n === bytes.length ? next : piece.place(n);
    return !last && next > 0;
  }
}

// linesWith returns where in bytes the lines begin that have a text, in small letters.
export function linesWith(bytes, text) {
  const found = [], all = stripped(new TextDecoder().decode(bytes)).toLowerCase();
  let at = 0, line = 0; // the beginning of a line, in the text and in the bytes
  for (let hit = all.indexOf(text); hit >= 0;) {
    const start = all.lastIndexOf('\n', hit) + 1;
    // What was stripped or decoded has other lengths, but as many lines.
    for (let i = all.indexOf('\n', at); i >= 0 && i < start; i = all.indexOf('\n', i + 1)) line = bytes.indexOf(10, line) + 1;
    at = start;
    const end = all.indexOf('\n', hit);
    if (overwritten(all.slice(start, end < 0 ? undefined : end)).includes(text)) found.push(line);
    hit = end < 0 ? -1 : all.indexOf(text, end);
  }
  return found;
}
