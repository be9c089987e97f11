import * as api from './api.js';
import { may } from './access.js';
import { askBack, back } from './bring_back.js';
import { changes } from './diff.js';
import { button, empty, h, hashOf, link, newId, replace } from './dom.js';
import { instant, time, viewerZone } from './format.js';
import { store } from './live.js';
import { Past } from './past.js';
import { savedFilters } from './saved.js';

const actions = { 'created,changed,enabled,disabled,deleted,owned': 'documents of jobs', deleted: 'deleted', 'enabled,disabled': 'enabled and disabled', 'paused,resumed': 'pauses', 'backfilled,backfill stopped': 'backfills',
  'run,killed,purged,marked as successful': 'runs by hand', 'pool set,pool deleted': 'pools', restored: 'restored backups' };

const symbols = { created: '+', deleted: '−', changed: '~', enabled: '✓', disabled: '⊘', run: '▶', killed: '✕', purged: '✕', paused: '‖', resumed: '▶' };

export default function activity(main, parts, query) {
  const page = new Activity(query);
  replace(main, page.elements());
  page.load();
  return page;
}

// Activity lists who has changed what, the newest first.
class Activity extends Past {
  constructor(query) {
    super('#activity', ['q', 'job', 'user', 'action', 'from', 'to'], query, { first: 50, most: 200, pace: 2000 });
    this.open = new Set();
  }

  elements() {
    const input = (key, props) => h('input', { ...props, value: this.filter[key], input: e => this.set(key, e.target.value) });
    this.search = input('q', { type: 'search', class: 'search', placeholder: 'Job or user', 'aria-label': 'Filter by job or user' });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.items = h('ul', { class: 'acts' });
    this.more = button('Older', () => this.load(true), 'small');
    this.chips = h('span', { class: 'inline' });
    return [h('div', { class: 'toolbar' }, h('h1', {}, 'Activity'), this.search, this.count),
      h('div', { class: 'filters runs-filters' },
        h('select', { 'aria-label': 'What', change: e => this.set('action', e.target.value) }, h('option', { value: '' }, 'What: any'), Object.entries(actions).map(([value, text]) => h('option', { value, selected: value === this.filter.action }, text))),
        h('span', { class: 'nowrap' }, 'from ', input('from', { type: 'datetime-local', 'aria-label': 'From' })), h('span', { class: 'nowrap' }, 'to ', input('to', { type: 'datetime-local', 'aria-label': 'To' })), h('span', { class: 'dim' }, viewerZone), this.chips, savedFilters('#activity')),
      h('section', { class: 'panel', 'aria-label': 'Activity' }, this.items, this.none, h('p', { class: 'pad' }, this.more)),
      h('p', { class: 'dim' }, 'The last changes of jobs, and as many of what was done to runs (--activity_keep), of 90 days at most.')];
  }

  async ask(query, options) {
    const { activity: list, next } = await api.activity(query, options);
    return { list, next };
  }

  show() {
    this.count.textContent = `${this.list.length.toLocaleString()}${this.next ? ' newest' : ''} ${this.list.length === 1 ? 'entry' : 'entries'}`;
    this.more.hidden = !this.next;
    replace(this.chips, ['job', 'user'].filter(key => this.filter[key]).map(key => h('span', { class: 'chip' }, `${key}: ${this.filter[key]}`,
      h('button', { type: 'button', class: 'icon-button', 'aria-label': `Any ${key}`, click: () => this.set(key, '') }, '×'))));
    replace(this.none, this.list.length === 0 && empty('Nothing was changed, as far as this goes back.'));
    const focused = document.activeElement?.dataset?.act;
    replace(this.items, this.list.map(act => this.item(act)));
    if (focused) this.items.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
  }

  item(act) {
    const differs = act.before || act.after || act.cut || act.children, id = newId('act');
    const body = h('div', { class: 'act-body', id, hidden: !this.open.has(act.number) });
    const fill = () => { if (!body.hidden && !body.firstChild) replace(body, detail(act)); };
    const more = differs && h('button', {
      type: 'button', class: 'button small quiet', dataset: { act: `${act.number}` }, 'aria-expanded': String(!body.hidden), 'aria-controls': id, 'aria-label': `${keysOf(act)}: what is different in ${act.action} ${act.job}`, click: () => {
        body.hidden = !body.hidden;
        if (body.hidden) this.open.delete(act.number); else this.open.add(act.number);
        more.setAttribute('aria-expanded', String(!body.hidden));
        fill();
      },
    }, keysOf(act));
    fill();
    const label = may('edit', store.jobs.get(act.job) ?? { name: act.job ?? '', owner: act.before?.owner }) && back(act);
    return h('li', { class: 'act', dataset: { number: act.number } }, h('div', { class: 'act-head' },
      h('span', { class: 'act-when' }, time(Date.parse(act.at))),
      h('span', { class: 'act-what' }, h('span', { class: 'act-symbol ' + act.action.split(' ')[0], 'aria-hidden': 'true' }, symbols[act.action] ?? '•'), act.action, ' ',
        act.job && (store.jobs.has(act.job) ? link(act.job, hashOf(act.job), { class: 'name' }) : h('span', { class: 'name' }, act.job)), about(act)),
      h('span', { class: 'act-who', title: whence(act) }, act.user ? link(act.user, '#activity?user=' + encodeURIComponent(act.user)) : h('span', { class: 'dim' }, act.forwardedFor || act.remote || 'unknown')),
      h('span', { class: 'act-do' }, more, label && button(label, () => askBack(act), 'small'))), body);
  }
}

// about says which run, which set, until when, how many.
const about = act => act.action === 'run' ? store.jobs.has(act.job) && [' ', link('log', `${hashOf(act.job)}?run=${encodeURIComponent(act.about)}`, { 'aria-label': `log of this run of ${act.job}` })]
  : act.about && h('small', { class: 'dim' }, ' ', act.about.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, text => instant(Date.parse(text))));

// keysOf says in a few words what is different.
function keysOf(act) {
  if (act.action === 'created' || act.action === 'deleted') return 'Document';
  const keys = [...new Set([...Object.keys(act.before ?? {}), ...Object.keys(act.after ?? {}), ...act.cut ?? []])].map(key => key === '*' ? 'too much to keep' : key);
  return keys.length > 3 ? `${keys.slice(0, 3).join(', ')} and ${keys.length - 3} more` : keys.join(', ') || 'Difference';
}

const whence = act => [act.provenBy && `proven by ${act.provenBy}`, act.remote && `from ${act.remote}`, act.forwardedFor && `for ${act.forwardedFor}`, act.request && `request ${act.request}`].filter(Boolean).join(', ');

// detail shows what has become different.
function detail(act) {
  return [
    changes(act.before ?? {}, act.after ?? {}, 'h2').map(c => c.element),
    act.cut && h('p', { class: 'dim' }, `Too large to be kept: ${act.cut.map(key => key === '*' ? 'the document' : key).join(', ')}.`),
    act.children && h('p', {}, 'Ran after it: ', Object.keys(act.children).sort().map((name, i) => [i > 0 && ', ', store.jobs.has(name) ? link(name, hashOf(name)) : name])),
    h('p', { class: 'dim' }, whence(act)),
  ];
}
