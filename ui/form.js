import { semicolons } from './actions.js';
import { button, complain, field, h, newId, replace } from './dom.js';
import { parse } from './api.js';
import { problems } from './check.js';
import { viewerZone } from './format.js';
import { policyFields } from './policies.js';
import { store } from './live.js';
import { ScheduleEditor } from './schedule.js';

// Kinds of fields: each creates the control for a value, and calls set with new values.
const text = (hint, kind = 'text') => ({ hint, make: (value, set) => h('input', { type: kind, value: str(value), autocomplete: 'off', spellcheck: 'false', input: e => set(e.target.value) }) });
const long = (hint, rows = 2, mono = true) => ({ hint, wide: true, make: (value, set) => h('textarea', { rows, class: mono ? 'mono' : '', spellcheck: 'false', value: str(value), input: e => set(e.target.value) }) });
const number = (hint, step = 'any') => ({
  hint, make: (value, set) => h('input', { type: 'number', step, value: str(value), input: e => set(e.target.value === '' ? undefined : numberOf(e.target.value)) }),
});
const flag = hint => ({ hint, flag: true, make: (value, set) => h('input', { type: 'checkbox', checked: value === true, change: e => set(e.target.checked) }) });
const choice = (options, hint) => ({
  hint, make: (value, set) => {
    const known = value === undefined || options.includes(value) ? options : [...options, value];
    const el = h('select', { change: e => set(e.target.value || undefined) }, known.map(o => h('option', { value: o }, o || 'none')));
    el.value = value ?? '';
    return el;
  },
});

const str = value => value === undefined || value === null ? '' : typeof value === 'object' ? value.rawJSON ?? JSON.stringify(value) : String(value);
const numberOf = value => Number.isNaN(Number(value)) ? value : Number(value);

// A list of things with some members each; other members that they have are kept.
const list = (noun, members, hint) => ({ hint, wide: true, list: true, make: (value, set, label) => rows(noun, members, value, set, label) });
const strings = (noun, hint) => list(noun, null, hint);

const json = (hint, rowCount = 3) => ({
  hint, wide: true, make: (value, set, label, form) => {
    const el = h('textarea', {
      rows: rowCount, class: 'mono', spellcheck: 'false', value: value === undefined ? '' : JSON.stringify(value, null, 2),
      input: () => {
        form.broken.delete(el);
        if (el.value.trim() === '') set(undefined);
        else {
          try { set(parse(el.value)); } catch (err) { form.broken.set(el, `${label} is not JSON: ${err.message}`); }
        }
        complain(el, form.broken.get(el));
      },
    });
    return el;
  },
});

// optional is a kind of field whose empty value is none.
const optional = kind => ({ ...kind, make: (value, set, ...rest) => kind.make(value, v => set(v === '' || Array.isArray(v) && v.length === 0 ? undefined : v), ...rest) });

// pairs edits an object of texts as rows.
const pairs = (noun, hint) => ({
  hint, wide: true, list: true, make: (value, set, label) => rows(noun, { key: text(), value: text() }, Object.entries(value ?? {}).map(([key, v]) => ({ key, value: v })),
    list => { const named = list.filter(p => p.key); set(named.length ? Object.fromEntries(named.map(p => [p.key, p.value ?? ''])) : undefined); }, label),
});

const sections = [
  ['What it does', true, {
    command: ['Command', long('Run by /bin/sh unless “Shell” is off', 3)],
    shell: ['Shell', flag('Off: the command is a program, with the arguments below')],
    arguments: ['Arguments', strings('argument', 'Appended to the command, or passed to the program. ' + semicolons)],
    environmentVariables: ['Environment', list('variable', { name: text(), value: text(), secret: text() }, 'A value, or the name of a secret that is read at the launch')],
    description: ['Description', long('', 2, false)],
    owner: ['Owner', text('Mail addresses, separated by commas, that are notified of failures')],
    ownerName: ['Owner’s name', text()],
  }],
  ['How it runs', true, {
    disabled: ['Disabled', flag('Not due until enabled')],
    highPriority: ['High priority', flag('Goes before others in the queue')],
    concurrent: ['Concurrent', flag('A run may start while another is under way')],
    async: ['Asynchronous', flag('Ends with a callback, not with its command')],
    softError: ['Soft error', flag('Children run even after a failure')],
    dataProcessingJobType: ['Data processing', flag('Reports elements processed')],
    retries: ['Retries', number('After a failure', 1)],
    epsilon: ['Epsilon', text('How late it may still start, e.g. PT30M')],
    maxCompletionTime: ['Time limit', number('In seconds; 0 for none', 1)],
    runAsUser: ['User', text()],
  }],
  ['Beyond the original', false, policyFields({
    text: hint => optional(text(hint)), number: hint => number(hint), choice: (hint, options) => choice(['', ...options], hint), strings: (hint, noun) => optional(strings(noun, hint)), json: hint => json(hint),
    pairs: (hint, noun) => pairs(noun, hint),
  })],
  ['Resources and files', false, {
    cpus: ['CPUs', number('Cores')], mem: ['Memory', number('MB')], disk: ['Disk', number('MB')],
    constraints: ['Constraints', { hint: 'EQUALS, LIKE or UNLIKE', wide: true, list: true, make: constraintRows }],
    uris: ['URIs', strings('URI', 'Fetched into the sandbox; the old form of “fetch”')],
    fetch: ['Fetch', list('file', { uri: text(), output_file: text(), executable: flag(), cache: flag(), extract: flag() })],
  }],
  ['Container', false, {
    'container.type': ['Type', choice(['', 'DOCKER', 'MESOS'], 'None: it runs on the agent itself')],
    'container.image': ['Image', text()],
    'container.network': ['Network', choice(['', 'HOST', 'BRIDGE', 'USER'])],
    'container.networkName': ['Network’s name', text()],
    'container.forcePullImage': ['Always pull', flag('The image, before each run')],
    'container.volumes': ['Volumes', list('volume', { containerPath: text(), hostPath: text(), mode: choice(['', 'RW', 'RO']) }, 'For external volumes use the JSON tab')],
    'container.parameters': ['Parameters', list('parameter', { key: text(), value: text() }, 'Of docker run')],
    'container.networkInfos': ['Networks', json('JSON')],
  }],
  ['Executor', false, {
    executor: ['Executor', text()], executorFlags: ['Executor’s flags', text()], taskInfoData: ['Task data', long('', 2)],
  }],
];

const elsewhere = new Set(['name', 'schedule', 'scheduleTimeZone', 'parents', 'container', 'successCount', 'errorCount', 'errorsSinceLastSuccess', 'lastSuccess', 'lastError']);

// A Form edits a job's document. It hands a new document to changed for each change.
export class Form {
  constructor(doc, isNew, changed) {
    this.doc = doc;
    this.changed = changed;
    this.stored = isNew ? null : doc.name; // the job that is edited
    this.broken = new Map(); // controls with unreadable values, and the reasons
    this.isNew = isNew;
    this.mended = null; // called when a field that the server judges has been mended
    this.touched = new Set(); // keys that the user has changed, whose values are judged
    this.refused = new Map(); // what the server says about keys, until they are changed
    this.element = h('form', { class: 'job-form', submit: e => e.preventDefault() }, this.basics(isNew), sections.slice(0, 2).map(s => this.section(...s)), h('div', { class: 'folds' }, sections.slice(2).map(s => this.section(...s)), this.others()));
  }

  controlOf(key) { return this.element.querySelector(`[data-key="${CSS.escape(key)}"]`); }

  // mark shows what the server says about keys, one per line, at their fields until they are edited. It returns the lines for which there is no field.
  mark(message) {
    const rest = [];
    for (const line of message.split('\n')) {
      const [, path, text] = /^(\w+(?:[.[][^:]*)?): (.*)$/.exec(line) ?? (/job's name is invalid/.test(line) ? [line, 'name', line] : []);
      const key = path?.replace(/\[.*/, '');
      if (key && this.controlOf(key)) this.refused.set(key, text); else rest.push(line);
    }
    this.judge();
    return rest.join('\n').trim();
  }

  // judge shows what is wrong at the fields that the user has changed, and returns how many others are wrong.
  judge() {
    const found = problems(this.doc, this.isNew);
    for (const el of this.element.querySelectorAll('[data-key]')) {
      const { key } = el.dataset;
      const text = this.refused.get(key) ?? (this.touched.has(key) ? found.get(key) : '') ?? '';
      if (text || el.hasAttribute('aria-invalid') && !this.broken.has(el) && !this.schedule?.owns(el)) complain(el, text);
    }
    return found;
  }

  // judgeAll judges every field, and goes to the first that is wrong. It returns how many are.
  judgeAll() {
    for (const key of problems(this.doc, this.isNew).keys()) this.touched.add(key);
    const n = this.judge().size + this.broken.size + (this.schedule?.wrong ? 1 : 0);
    if (n) this.element.querySelector('[aria-invalid]')?.focus();
    return n;
  }

  // touch notes that the user has changed a key.
  touch(key) {
    this.touched.add(key);
    this.refused.delete(key);
  }

  close() { this.schedule?.close(); }

  // set changes one key, container.image style for those of the container.
  set(path, value) {
    const [key, member] = path.split('.');
    this.touch(path);
    if (key === 'epsilon') this.schedule?.askSoon();
    if (member === undefined) this.doc = withKey(this.doc, key, value);
    else {
      const container = member === 'type' && value === undefined ? undefined : withKey(this.doc.container ?? {}, member, value === '' ? undefined : value);
      this.doc = withKey(this.doc, 'container', container && (container.type || Object.keys(container).length) ? container : undefined);
    }
    this.told();
  }

  told() {
    this.judge(); // first, because whoever is told looks whether a field is left that is wrong
    this.changed(this.doc);
  }

  value(path) {
    const [key, member] = path.split('.');
    const value = member === undefined ? this.doc[key] : this.doc.container?.[member];
    return path === 'container.type' && typeof value === 'string' ? value.toUpperCase() : value;
  }

  control(path, [label, kind]) {
    const el = kind.make(this.value(path), value => this.set(path, value), label, this);
    el.dataset.key = path;
    if (kind.list) return h('fieldset', { class: 'field list wide' }, h('legend', {}, label), kind.hint && h('small', { class: 'hint' }, kind.hint), el);
    if (kind.flag) {
      el.id = newId('f');
      return h('div', { class: 'field flag' }, el, h('label', { htmlFor: el.id }, label), kind.hint && h('small', { class: 'hint' }, kind.hint));
    }
    return field(label, el, kind.hint, kind.wide ? 'wide' : '');
  }

  section(title, open, fields) {
    const used = Object.keys(fields).some(path => { const v = this.value(path); return v !== undefined && v !== '' && v !== false && !(Array.isArray(v) && v.length === 0) && !['cpus', 'mem', 'disk'].includes(path); });
    return h('details', { class: 'panel fold', open: open || used }, h('summary', {}, h('h2', {}, title)), h('div', { class: 'fields' }, Object.entries(fields).map(([path, f]) => this.control(path, f))));
  }

  basics(isNew) {
    const name = h('input', { type: 'text', value: str(this.doc.name), readOnly: !isNew, autocomplete: 'off', spellcheck: 'false', dataset: { key: 'name' }, input: e => this.set('name', e.target.value) });
    this.trigger = h('div');
    const kind = (id, label) => {
      const el = h('input', { type: 'radio', name: 'trigger', id: newId('f'), value: id, checked: id === (this.doc.parents ? 'parents' : 'schedule'), change: () => this.switchTo(id) });
      return h('span', { class: 'check' }, el, h('label', { htmlFor: el.id }, label));
    };
    const section = h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, 'Name and trigger')), h('div', { class: 'fields' },
      field('Name', name, isNew ? 'Letters, digits, spaces, and _ . # -' : 'It can’t be changed', 'wide'),
      h('fieldset', { class: 'field wide list' }, h('legend', {}, 'It runs'), h('div', { class: 'inline' }, kind('schedule', 'on a schedule'), kind('parents', 'after other jobs'))), this.trigger));
    this.showTrigger();
    return section;
  }

  // switchTo keeps the value of the other kind of trigger, in case the user switches back.
  switchTo(kind) {
    if (kind === 'parents') {
      this.kept = { schedule: this.doc.schedule, scheduleTimeZone: this.doc.scheduleTimeZone };
      this.doc = withKey(withKey(this.doc, 'schedule', undefined), 'scheduleTimeZone', undefined);
      this.doc = withKey(this.doc, 'parents', this.keptParents ?? []);
    } else {
      this.keptParents = this.doc.parents;
      this.doc = withKey(this.doc, 'parents', undefined);
      this.doc = withKey(withKey(this.doc, 'schedule', this.kept?.schedule ?? '0 6 * * *'), 'scheduleTimeZone', this.kept?.scheduleTimeZone ?? viewerZone);
    }
    this.showTrigger();
    this.told();
  }

  showTrigger() {
    this.schedule?.close();
    this.schedule = null;
    if (this.doc.parents) {
      replace(this.trigger, parentPicker(this.doc.name, this.doc.parents, parents => this.set('parents', parents)));
      return;
    }
    this.schedule = new ScheduleEditor(this.doc.schedule, this.doc.scheduleTimeZone, (schedule, zone) => {
      if (schedule !== (this.doc.schedule ?? '')) { this.doc = withKey(this.doc, 'schedule', schedule); this.touch('schedule'); }
      if (zone !== (this.doc.scheduleTimeZone ?? '')) { this.doc = withKey(this.doc, 'scheduleTimeZone', zone); this.touch('scheduleTimeZone'); }
      this.told();
    }, { name: this.stored, typed: () => this.doc.name, epsilon: () => this.doc.epsilon, mended: () => this.mended?.() });
    replace(this.trigger, this.schedule.element);
  }

  // others holds the document's keys that no version of Chronos knows.
  others() {
    const known = new Set([...elsewhere, ...sections.flatMap(s => Object.keys(s[2]))]);
    const keys = Object.keys(this.doc).filter(key => !known.has(key));
    const rest = Object.fromEntries(keys.map(key => [key, this.doc[key]]));
    const kind = json('Keys that Chronos doesn’t know. They are kept as they are.', 4);
    let now = keys;
    const el = kind.make(keys.length ? rest : undefined, value => {
      if (value !== undefined && (value === null || typeof value !== 'object' || Array.isArray(value))) return;
      let doc = Object.fromEntries(Object.entries(this.doc).filter(([key]) => !now.includes(key)));
      now = Object.keys(value ?? {}).filter(key => !known.has(key));
      for (const key of now) doc = withKey(doc, key, value[key]);
      this.doc = doc;
      this.changed(doc);
    }, 'Other keys', this);
    return h('details', { class: 'panel fold', open: keys.length > 0 }, h('summary', {}, h('h2', {}, 'Other keys')), h('div', { class: 'fields' }, field('Other keys', el, kind.hint, 'wide')));
  }
}

// withKey returns a copy of an object with one member changed, or removed if undefined.
// It keeps the order, and treats names like __proto__ like any other.
function withKey(object, key, value) {
  const members = Object.entries(object).filter(([k]) => k !== key || value !== undefined);
  const i = members.findIndex(([k]) => k === key);
  if (value !== undefined) {
    if (i >= 0) members[i] = [key, value]; else members.push([key, value]);
  }
  return Object.fromEntries(members);
}

// rows edits a list. Without members the elements are texts.
function rows(noun, members, value, set, label) {
  let items = Array.isArray(value) ? [...value] : [];
  const box = h('div', { class: 'rows' });
  const change = next => { items = next; set(next); };
  const draw = focus => {
    replace(box, items.map((item, i) => h('div', { class: 'rowedit' }, members
      ? Object.entries(members).map(([key, kind]) => {
        const el = kind.make(item[key], v => change(items.with(i, withKey(items[i], key, v === '' && !(key in item) ? undefined : v))));
        if (kind.flag) { el.id = newId('f'); return h('span', { class: 'check' }, el, h('label', { htmlFor: el.id }, key)); }
        el.setAttribute('aria-label', `${label} ${i + 1}, ${key}`);
        if (el.placeholder === '') el.placeholder = key;
        return el;
      })
      : h('input', { type: 'text', value: str(item), spellcheck: 'false', 'aria-label': `${label} ${i + 1}`, input: e => change(items.with(i, e.target.value)) }),
    h('button', { type: 'button', class: 'icon-button', 'aria-label': `Remove ${noun} ${i + 1}`, click: () => { change(items.toSpliced(i, 1)); draw(); } }, '×'))),
    button(`Add ${noun}`, () => { change([...items, members ? {} : '']); draw(true); }, 'small quiet'));
    if (focus) [...box.querySelectorAll('.rowedit')].at(-1)?.querySelector('input')?.focus();
  };
  draw();
  return box;
}

function constraintRows(value, set, label) {
  const names = ['attribute', 'operator', 'value'];
  const asObjects = (Array.isArray(value) ? value : []).map(c => Object.fromEntries(names.map((n, i) => [n, c[i] ?? ''])));
  return rows('constraint', { attribute: text(), operator: choice(['', 'EQUALS', 'LIKE', 'UNLIKE']), value: text() }, asObjects,
    list => set(list.map(c => names.map(n => c[n] ?? ''))), label);
}

function parentPicker(self, parents, set) {
  const id = newId('jobs');
  let items = [...parents];
  const chips = h('ul', { class: 'chips', 'aria-label': 'Parents' });
  const suggestions = h('datalist', { id });
  const input = h('input', {
    type: 'text', list: id, autocomplete: 'off', spellcheck: 'false', placeholder: 'Name of a job', dataset: { key: 'parents' },
    input: () => {
      if (store.jobs.has(input.value) && input.value !== self && ![...store.jobs.keys()].some(n => n !== input.value && n.startsWith(input.value))) { add(); return; }
      const typed = input.value.toLowerCase(), found = [];
      for (const name of store.jobs.keys()) {
        if (name !== self && !items.includes(name) && name.toLowerCase().includes(typed)) found.push(name);
        if (found.length === 50) break;
      }
      replace(suggestions, found.map(name => h('option', { value: name })));
    },
    keydown: e => { if (e.key === 'Enter') { e.preventDefault(); add(); } },
    change: () => { if (store.jobs.has(input.value)) add(); },
  });
  const add = () => {
    const name = input.value.trim();
    if (!name || items.includes(name)) return;
    items = [...items, name];
    input.value = '';
    set(items);
    draw();
  };
  const draw = () => replace(chips, items.map(name => h('li', { class: 'chip' + (store.jobs.has(name) ? '' : ' bad') }, name,
    h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Remove ' + name, click: () => { items = items.filter(n => n !== name); set(items); draw(); } }, '×'))));
  draw();
  return h('div', {}, chips, h('div', { class: 'inline' }, h('div', { class: 'grow' }, field('Add a parent', input, 'It runs whenever all its parents have finished')), button('Add', add, 'small')), suggestions);
}
