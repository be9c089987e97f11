import { h, replace } from './dom.js';
import { store } from './live.js';

const prefix = row => /^([^.\-_# ]+)[.\-_# ]/.exec(row.name)?.[1] ?? '';

// The ways to put jobs into groups. of returns a function from a row to the names of its groups, '' for those that are in none.
export const groupings = {
  prefix: { label: 'name prefix', none: 'without a prefix', of: () => row => [prefix(row)] },
  dag: { label: 'DAG', none: 'on their own', of: () => { const roots = new Map(); return row => [rootOf(row.name, roots)]; } },
  owner: { label: 'owner', none: 'without an owner', of: () => row => [row.ownerName || row.owner || ''] },
  label: { label: 'label', none: 'without labels', of: () => row => row.labels ? Object.entries(row.labels).map(([k, v]) => `${k}=${v}`) : [''] },
  notify: { label: 'whom it tells', none: 'telling nobody of its own', of: () => row => row.notify ?? [''] },
  pool: { label: 'pool', none: 'in no pool', of: () => row => [row.pool ?? ''] },
};

// rootOf names the DAG that a job is in by the first of its jobs that runs after no other, '' for a job that nothing depends on.
function rootOf(name, roots) {
  if (roots.has(name)) return roots.get(name);
  const family = new Set([name]), todo = [name];
  while (todo.length) {
    const n = todo.pop();
    for (const list of [store.jobs.get(n)?.parents, store.children.get(n)]) {
      for (const other of list ?? []) if (store.jobs.has(other) && !family.has(other)) { family.add(other); todo.push(other); }
    }
  }
  const root = family.size === 1 ? '' : [...family].filter(n => !store.jobs.get(n).parents).sort()[0] ?? name;
  for (const n of family) roots.set(n, root);
  return root;
}

// Those of which one group can be chosen in a list: the way and the name with a colon between them.
const choices = ['prefix', 'label', 'pool', 'notify'];

// inGroup returns what tells whether a row is in a group.
export function inGroup(choice) {
  const [, by, name] = /^(\w+):(.*)$/s.exec(choice) ?? [];
  if (!choices.includes(by)) return () => true;
  const of = groupings[by].of();
  return row => of(row).includes(name);
}

// groupOptions offers the groups of more than one job in a select.
export function groupOptions(select, chosen) {
  const found = choices.map(by => {
    const of = groupings[by].of(), sizes = new Map();
    for (const row of store.jobs.values()) for (const name of of(row)) if (name) sizes.set(name, (sizes.get(name) ?? 0) + 1);
    return [by, [...sizes].filter(([name, n]) => n > 1 || chosen === `${by}:${name}`).map(([name]) => name).sort().slice(0, 300)];
  }).filter(([, names]) => names.length > 0);
  const shown = JSON.stringify(found);
  select.hidden = found.length === 0;
  if (select.dataset.shown === shown) return;
  select.dataset.shown = shown;
  replace(select, h('option', { value: '' }, 'Group: any'), found.map(([by, names]) => h('optgroup', { label: groupings[by].label[0].toUpperCase() + groupings[by].label.slice(1) }, names.map(name => h('option', { value: `${by}:${name}` }, name)))));
  select.value = chosen;
}
