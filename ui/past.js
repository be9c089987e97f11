import { h, replace } from './dom.js';
import { note } from './app.js';

// A Past is a page that lists what has happened, the newest first, as far as a filter lets it, which is in the address.
// Who extends it says what a part of the list is (ask, from options), shows it (show), and has a field search.
export class Past {
  constructor(address, keys, query, { first, most, pace }) {
    Object.assign(this, { address, first, most, pace });
    this.filter = Object.fromEntries(keys.map(key => [key, query.get(key) ?? '']));
    this.list = [];
    this.none = h('div');
  }

  set(key, value) {
    this.filter[key] = value;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.noteAddress(); this.load(); }, 250);
  }

  given() { return Object.fromEntries(Object.entries(this.filter).filter(([, value]) => value)); }

  noteAddress() {
    const q = new URLSearchParams(this.given());
    note(this.address + (q.size ? '?' + q : ''));
  }

  query() {
    const q = this.given();
    for (const key of ['from', 'to']) if (q[key]) q[key] = new Date(q[key]).toISOString();
    return q;
  }

  // load asks for what is shown once more, or for what is older than that.
  async load(more) {
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const limit = more ? 100 : Math.min(this.most, Math.max(this.first, this.list.length));
      const { list, next } = await this.ask({ ...this.query(), limit, ...more && { after: this.next } }, { signal: this.asking.signal });
      this.list = more ? [...this.list, ...list] : list;
      this.next = next;
      this.loaded = Date.now();
      this.show();
      await this.shown(more);
    } catch (err) {
      if (err.name !== 'AbortError') replace(this.none, h('p', { class: 'bad-text pad' }, err.message));
    }
  }

  // shown does what is to be done once a part is shown.
  shown() {}

  key(event, typing) {
    if (event.key !== '/' || typing) return false;
    this.search.focus();
    return true;
  }

  // update asks again when something has changed, though not too often, and not while somebody reads what is far down.
  update(names) {
    if (names !== null && names.size === 0 || this.refreshing || this.list.length > this.most) return;
    this.refreshing = setTimeout(() => { this.refreshing = 0; this.load(); }, Math.max(0, this.pace - (Date.now() - (this.loaded ?? 0))));
  }

  leave() {
    this.asking?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.refreshing);
  }
}
