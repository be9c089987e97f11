import { askRun } from './actions.js';
import { may } from './access.js';
import { dialog, h, hashOf, newId, replace } from './dom.js';
import { stateBadges } from './format.js';
import { store } from './live.js';
import { toggle } from './job_actions.js';

const go = hash => () => { location.hash = hash; };
const shown = 12;

const pages = [['Overview', '#overview'], ['Jobs', '#jobs'], ['Grid', '#grid'], ['Timeline', '#timeline'], ['Runs', '#runs'], ['Failed runs', '#runs?state=failed%2Clost'], ['Graph', '#graph'], ['Cluster', '#cluster'], ['Activity', '#activity'], ['Deleted jobs', '#activity?action=deleted']];

// What can be done with a job, each with the word that one types before its name.
const verbs = [
  ['Open', row => go(hashOf(row.name))],
  ['Run', row => may('run', row) && (() => askRun(row, may('edit', row)))],
  ['Edit', row => may('edit', row) && go(hashOf(row.name) + '/edit')],
  ['Log of', row => row.runs && go(hashOf(row.name) + '?run=latest')],
  ['Graph of', row => go('#graph/' + encodeURIComponent(row.name))],
  ['Activity of', row => go('#activity?job=' + encodeURIComponent(row.name))],
  ['Disable', row => may('edit', row) && !row.disabled && (() => toggle(row))],
  ['Enable', row => may('edit', row) && row.disabled && (() => toggle(row))],
];

// entries finds what a text may mean: pages, and jobs with what can be done with them.
function entries(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean), found = [];
  const add = (label, act, row) => { if (act) found.push({ label, act, row }); };
  for (const [label, hash] of pages) if (words.every(w => label.toLowerCase().includes(w))) add(label, go(hash));
  if (may('edit') && words.every(w => 'new job'.includes(w))) add('New job', go('#new'));
  if (!words.length) return found;
  for (const [verb, make] of verbs) {
    const named = verb.toLowerCase().startsWith(words[0]), rest = named ? words.slice(1) : words;
    if (!named && verb !== 'Open' || named && !rest.length) continue;
    for (const row of best(rest)) add(`${verb} ${row.name}`, make(row), row);
  }
  return found;
}

// best finds jobs by words of their names, those that begin with the first word first.
function best(words) {
  const found = [];
  for (const row of store.jobs.values()) {
    const name = row.name.toLowerCase();
    if (words.every(w => name.includes(w))) found.push(row);
    if (found.length > 500) break;
  }
  const rank = row => row.name.toLowerCase().startsWith(words[0]) ? 0 : 1;
  return found.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1)).slice(0, shown);
}

// openPalette asks what to do, and does it.
export async function openPalette() {
  const id = newId('palette');
  let list = [], at = 0;
  const act = await dialog('Go to, or do', done => {
    const options = h('ul', { class: 'palette', role: 'listbox', id, 'aria-label': 'What can be done' });
    const input = h('input', {
      type: 'text', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': id, 'aria-label': 'Job, page or action', placeholder: 'A job’s name, or run, edit, log … and a name', autofocus: true, autocomplete: 'off', spellcheck: 'false',
      input: () => { at = 0; draw(); },
      keydown: e => {
        const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
        if (by && list.length) { e.preventDefault(); at = (at + by + list.length) % list.length; draw(); }
        if (e.key === 'Enter' && list[at]) { e.preventDefault(); done(list[at].act); }
      },
    });
    const draw = () => {
      list = entries(input.value).slice(0, shown);
      replace(options, list.map((entry, i) => h('li', { role: 'option', id: `${id}-${i}`, 'aria-selected': String(i === at), click: () => done(entry.act) }, h('span', { class: 'grow' }, entry.label), entry.row && stateBadges(entry.row))),
        list.length === 0 && h('li', { class: 'dim', role: 'option', 'aria-selected': 'false' }, 'Nothing of that name.'));
      if (list.length) input.setAttribute('aria-activedescendant', `${id}-${at}`); else input.removeAttribute('aria-activedescendant');
    };
    draw();
    return h('div', { class: 'dialog-body' }, input, options);
  });
  act?.();
}
