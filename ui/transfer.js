import * as api from './api.js';
import { Sender } from './actions.js';
import { changes } from './diff.js';
import { button, dialog, h, toast } from './dom.js';
import { count, plural } from './format.js';
import { store } from './live.js';

// exportJobs saves the documents of jobs as one file.
export async function exportJobs(names) {
  try {
    const wanted = new Set(names), all = await api.documents();
    const docs = all.filter(doc => wanted.has(doc.name));
    const url = URL.createObjectURL(new Blob([JSON.stringify(docs, null, 2) + '\n'], { type: 'application/json' }));
    const a = h('a', { href: url, download: 'chronos-jobs.json' });
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60e3);
    toast(`${plural(docs.length, 'job')} exported.`);
  } catch (err) {
    toast(err.message, true);
  }
}

// importJobs asks for a file, shows what it would change, and does that.
export function importJobs() {
  const input = h('input', { type: 'file', accept: '.json,application/json', hidden: true, change: async () => {
    const [file] = input.files;
    input.remove();
    if (file) await offer(file);
  } });
  input.addEventListener('cancel', () => input.remove());
  document.body.append(input);
  input.click();
}

function readJobs(text) {
  const doc = api.parse(text), list = Array.isArray(doc) ? doc : [doc];
  const bad = list.findIndex(job => typeof job?.name !== 'string');
  if (bad >= 0) throw new Error(`Number ${bad + 1} in the file is no job: it has no name.`);
  return list;
}

async function offer(file) {
  try {
    const jobs = readJobs(await file.text());
    const stored = new Map((await api.documents()).map(doc => [doc.name, doc]));
    await showPlan(planOf(jobs, stored));
  } catch (err) {
    toast(`${file.name} can’t be imported: ${err.message}`, true);
  }
}

// planOf says what importing jobs would change, with parents before children. Counters, and how far a schedule has come, are not compared.
function planOf(jobs, stored) {
  const plan = { made: [], changed: [], same: [] }, left = new Map(jobs.map(doc => [doc.name, doc]));
  while (left.size) {
    const ready = [...left.values()].filter(doc => !doc.parents?.some(p => left.has(p)));
    for (const doc of ready.length ? ready : [...left.values()]) {
      left.delete(doc.name);
      const old = stored.get(doc.name);
      if (!old) { plan.made.push({ doc }); continue; }
      const wanted = { ...old, ...doc };
      for (const key of api.counters) wanted[key] = old[key];
      for (const key of Object.keys(old)) if (!(key in doc) && !api.counters.includes(key)) delete wanted[key];
      const list = changes(old, wanted).filter(c => !(c.key in old) || c.key in doc);
      if (list.length) plan.changed.push({ doc: { ...old, ...doc, ...Object.fromEntries(api.counters.map(key => [key, old[key]])) }, list }); else plan.same.push({ doc });
    }
  }
  return plan;
}

function showPlan({ made, changed, same }) {
  const all = [...made, ...changed];
  return dialog('Import jobs?', (done, el) => {
    const go = button(`Import ${plural(all.length, 'job')}`, async () => {
      let n = 0;
      const ok = await sender.send(async options => {
        for (const { doc } of all.slice(sender.made ?? 0)) {
          try { await api.saveJob(doc, false, options); } catch (err) { err.message = `${doc.name}: ${err.message}`; throw err; }
          sender.made = (sender.made ?? 0) + 1;
          n++;
        }
      });
      if (n) toast(`${plural(n, 'job')} imported.`);
      if (ok) done(true);
    }, 'primary');
    go.disabled = all.length === 0;
    const sender = new Sender(go);
    sender.within(el);
    const names = list => h('ul', { class: 'names' }, list.slice(0, 50).map(({ doc }) => h('li', {}, h('code', {}, doc.name))), list.length > 50 && h('li', { class: 'dim' }, `and ${count(list.length - 50)} more`));
    return [h('div', { class: 'dialog-body' },
      made.length > 0 && [h('h3', {}, `${plural(made.length, 'new job')}`), names(made)],
      changed.length > 0 && [h('h3', {}, `${plural(changed.length, 'job')} changed`), changed.slice(0, 50).map(({ doc, list }) => h('details', {}, h('summary', {}, doc.name, h('span', { class: 'dim' }, `: ${list.map(c => c.key).join(', ')}`)), list.map(c => c.element)))],
      same.length > 0 && h('p', { class: 'dim' }, `${plural(same.length, 'job')} as ${same.length === 1 ? 'it is' : 'they are'} already.`),
      all.length === 0 && h('p', {}, 'There is nothing to change.'), sender.note),
    h('div', { class: 'dialog-foot' }, h('span', { class: 'dim' }, `${plural(store.jobs.size, 'job')} now`), button('Cancel', () => done()), go)];
  }, true);
}
