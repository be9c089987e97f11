import * as api from './api.js';
import { Sender } from './actions.js';
import { button, dialog, empty, h, hashOf, link, replace, toast } from './dom.js';
import { store } from './live.js';
import { Form } from './form.js';
import { changes } from './diff.js';
import { plural, viewerZone } from './format.js';

const blank = { name: '', command: '', shell: true, epsilon: 'PT60S', retries: 2, owner: '', ownerName: '', description: '', disabled: false, schedule: '0 6 * * *', scheduleTimeZone: viewerZone };

export default function editor(main, [name], query) {
  const page = new Editor(main, name, query.get('from'), query.get('parent'));
  page.load();
  return page;
}

// An Editor changes a job, as a form or as its JSON document. The document is authoritative:
// the form changes keys of it, and leaves alone those it doesn't know.
class Editor {
  constructor(main, name, from, parent) {
    this.main = main;
    this.name = name;  // null for a new job
    this.from = from;
    this.parent = parent;
    this.draftKey = 'chronos.draft:' + (name ?? 'new');
    replace(main, empty('Loading …'));
  }

  async load() {
    try {
      this.base = await this.start();
    } catch (err) {
      replace(this.main, empty(err.status === 400 || err.status === 404 ? `There is no job “${this.name ?? this.from}”.` : err.message, button('Try again', () => this.load()), link('All jobs', '#jobs')));
      return;
    }
    if (this.left) return;
    this.doc = structuredCloneOf(this.base);
    if (!this.name && this.from) this.doc.name = copyName(this.from);
    this.show();
    this.offerDraft();
  }

  async start() {
    if (this.name) return api.document(this.name);
    if (this.from) {
      const doc = await api.document(this.from);
      return { ...doc, successCount: 0, errorCount: 0, errorsSinceLastSuccess: 0, lastSuccess: '', lastError: '' };
    }
    const doc = { ...blank };
    if (this.parent) {
      delete doc.schedule;
      delete doc.scheduleTimeZone;
      doc.parents = [this.parent];
    }
    return doc;
  }

  show() {
    const title = this.name ? `Edit ${this.name}` : this.from ? `Duplicate ${this.from}` : 'New job';
    this.tabs = ['form', 'json'].map(tab => h('button', { type: 'button', class: 'tab', role: 'tab', id: 'tab-' + tab, 'aria-controls': 'edit-body', dataset: { tab }, click: () => this.open(tab), keydown: e => this.tabKey(e) }, tab === 'form' ? 'Form' : 'JSON'));
    this.body = h('div', { id: 'edit-body', role: 'tabpanel' });
    this.note = h('span', { class: 'dim', role: 'status' });
    this.error = h('div', { class: 'alert bad', role: 'alert', hidden: true });
    replace(this.main, h('div', { class: 'title' }, h('h1', {}, title), h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Edit as' }, this.tabs)),
      this.error, this.draft = h('div'), this.body,
      h('div', { class: 'savebar' }, h('button', { type: 'button', class: 'button primary', id: 'save', click: () => this.save() }, this.name ? 'Review and save' : 'Create'),
        link('Cancel', this.name ? hashOf(this.name) : '#jobs', { class: 'button', click: () => { this.discard = true; sessionStorage.removeItem(this.draftKey); } }), this.note));
    this.open('form');
  }

  tabKey(event) {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    event.preventDefault();
    const other = this.tab === 'form' ? 'json' : 'form';
    if (this.open(other)) this.tabs.find(t => t.dataset.tab === other).focus();
  }

  open(tab) {
    if (this.tab === 'json' && !this.readJSON()) return false;
    this.form?.close();
    this.form = null;
    this.tab = tab;
    for (const t of this.tabs) {
      t.setAttribute('aria-selected', t.dataset.tab === tab);
      t.tabIndex = t.dataset.tab === tab ? 0 : -1;
    }
    this.body.setAttribute('aria-labelledby', 'tab-' + tab);
    if (tab === 'form') {
      this.form = new Form(this.doc, !this.name, doc => { this.doc = doc; this.edited(); });
      this.form.mended = () => this.recheck();
      replace(this.body, this.form.element);
    } else {
      this.text = h('textarea', { class: 'json-edit mono', spellcheck: 'false', 'aria-label': 'The job as JSON', value: JSON.stringify(this.doc, null, 2), input: () => { this.jsonTouched = true; this.edited(); } });
      this.jsonTouched = false;
      replace(this.body, this.text);
    }
    return true;
  }

  // readJSON takes over the text of the JSON editor, and reports whether it could.
  readJSON() {
    if (!this.jsonTouched) return true;
    try {
      const doc = api.parse(this.text.value);
      if (doc === null || typeof doc !== 'object' || Array.isArray(doc)) throw new Error('the document is not a JSON object');
      this.doc = doc;
      this.jsonTouched = false;
      this.fail('');
      return true;
    } catch (err) {
      this.fail('The JSON can’t be read: ' + err.message);
      return false;
    }
  }

  fail(text) {
    this.error.textContent = text;
    this.error.hidden = !text;
    this.judged = false;
    if (text) this.error.scrollIntoView({ block: 'nearest' });
  }

  edited() {
    this.note.textContent = 'Not saved yet.';
    this.recheck();
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.keep(), 300);
  }

  // recheck takes back that fields need a change once none does.
  recheck() {
    if (this.judged && !this.form?.element.querySelector('[aria-invalid]')) this.fail('');
  }

  // keep makes unsaved input survive a reload or a crash of the page.
  keep() {
    if (this.discard || !this.unsaved()) return;
    try { sessionStorage.setItem(this.draftKey, this.jsonTouched ? this.text.value : JSON.stringify(this.doc)); } catch { /* storage may be full or forbidden */ }
  }

  offerDraft() {
    const text = sessionStorage.getItem(this.draftKey);
    if (!text) return;
    let doc;
    try { doc = api.parse(text); } catch { return; }
    if (api.same(doc, this.doc)) return;
    const done = () => replace(this.draft);
    replace(this.draft, h('div', { class: 'alert' }, 'There are unsaved changes from an earlier visit. ',
      button('Restore them', () => { this.doc = doc; this.jsonTouched = false; this.tab = ''; this.open('form'); this.edited(); done(); }, 'small'), ' ',
      button('Discard them', () => { sessionStorage.removeItem(this.draftKey); done(); }, 'small quiet')));
  }

  unsaved() {
    if (this.discard || !this.doc) return '';
    const changed = this.jsonTouched || !api.same(this.doc, this.base);
    return changed && !(this.from && !this.jsonTouched && api.same({ ...this.doc, name: '' }, { ...this.base, name: '' })) ? 'Leave without saving?' : '';
  }

  async save() {
    if (this.saving || this.tab === 'json' && !this.readJSON()) return;
    const wrong = this.form?.judgeAll();
    if (wrong) { this.refuse([...this.form.broken.values()][0] ?? (wrong === 1 ? 'One field needs a change first.' : `${wrong} fields need a change first.`)); return; }
    this.fail('');
    this.saving = true;
    try {
      if (this.name) await this.saveOver(); else await this.create();
    } catch (err) {
      this.explain(err.message);
      this.keep();
    } finally {
      this.saving = false;
    }
  }

  // refuse says why the job is not saved, until all fields are mended.
  refuse(text) {
    this.fail(text);
    this.judged = true;
    this.keep();
  }

  // explain shows what the server says about the job: at its fields, and the rest above them.
  explain(message) {
    const rest = this.form ? this.form.mark(message) : message;
    if (rest) this.fail(rest); else this.refuse('Chronos does not take the job as it is: the marked fields say why.');
  }

  async create() {
    const { name } = this.doc;
    if (!name) throw new Error('The job needs a name.');
    if (store.jobs.has(name)) throw new Error(`There is a job “${name}” already.`);
    const save = this.main.querySelector('#save'), giveUp = button('Cancel the change', () => this.stop.abort(), 'small');
    this.stop = new AbortController();
    save.disabled = true;
    try {
      await api.saveJob(this.doc, true, { signal: this.stop.signal, waits: waits => replace(this.note, waits ? ['Waiting for Chronos … ', giveUp] : '') });
    } finally {
      save.disabled = false;
    }
    this.saved(name);
  }

  async saveOver() {
    if (this.doc.name !== this.name) throw new Error('A job can’t be renamed: duplicate it, then delete this one.');
    const now = await api.document(this.name);
    const { doc, conflicts, taken } = api.merge(this.base, this.doc, now);
    const list = changes(now, doc);
    if (list.length === 0) { toast('There is nothing to save: nothing has changed.'); return; }
    const ok = await dialog('Save these changes?', (done, el) => {
      const go = h('button', { type: 'button', class: 'button primary', autofocus: true, click: async () => {
        if (await sender.send(options => api.saveJob(doc, true, options))) { done(true); return; }
        if (!sender.said) return;
        this.explain(sender.said);
        this.keep();
      } }, 'Save');
      const sender = new Sender(go);
      sender.within(el);
      return [h('div', { class: 'dialog-body' },
        conflicts.length > 0 && h('p', { class: 'alert bad' }, `Meanwhile somebody else has changed ${conflicts.join(', ')} too. Saving overwrites that.`),
        taken.length > 0 && h('p', { class: 'alert' }, `Changed meanwhile by somebody else, and kept: ${taken.join(', ')}.`),
        list.map(c => c.element), sender.note),
      h('div', { class: 'dialog-foot' }, h('span', { class: 'dim' }, plural(list.length, 'field')), button('Back', () => done(false)), go)];
    }, true);
    if (ok) this.saved(this.name);
  }

  saved(name) {
    this.discard = true;
    clearTimeout(this.keeping);
    sessionStorage.removeItem(this.draftKey);
    toast('Saved.');
    const go = () => { location.hash = hashOf(name); };
    if (store.jobs.has(name)) go(); else this.goWhenSeen = { name, go, timer: setTimeout(go, 3000) };
  }

  update() {
    const w = this.goWhenSeen;
    if (w && store.jobs.has(w.name)) { clearTimeout(w.timer); this.goWhenSeen = null; w.go(); }
  }

  key(event) {
    if (event.key !== 's' || !event.ctrlKey && !event.metaKey) return false;
    this.save();
    return true;
  }

  leave() {
    this.left = true;
    clearTimeout(this.keeping);
    clearTimeout(this.goWhenSeen?.timer);
    this.stop?.abort();
    this.form?.close();
  }
}

// structuredCloneOf copies a document; numbers that JavaScript can't represent stay as they are.
const structuredCloneOf = doc => api.parse(JSON.stringify(doc));

function copyName(name) {
  let copy = name + '-copy';
  for (let n = 2; store.jobs.has(copy); n++) copy = `${name}-copy-${n}`;
  return copy;
}
