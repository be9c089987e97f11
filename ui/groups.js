import { store } from './live.js';

const prefix = row => /^([^.\-_# ]+)[.\-_# ]/.exec(row.name)?.[1] ?? '';

// The ways to put jobs into groups. of returns a function from a row to the names of its groups, '' for those that are in none.
export const groupings = {
  prefix: { label: 'name prefix', none: 'without a prefix', of: () => row => [prefix(row)] },
  dag: { label: 'DAG', none: 'on their own', of: () => { const roots = new Map(); return row => [rootOf(row.name, roots)]; } },
  owner: { label: 'owner', none: 'without an owner', of: () => row => [row.ownerName || row.owner || ''] },
  label: { label: 'label', none: 'without labels', of: () => row => row.labels ? Object.entries(row.labels).map(([k, v]) => `${k}=${v}`) : [''] },
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
