import * as api from './api.js';
import { Sender } from './actions.js';
import { changes } from './diff.js';
import { button, dialog, h, toast } from './dom.js';
import { plural } from './format.js';
import { store } from './live.js';

const changed = new Set(['changed', 'enabled', 'disabled']);

// back says what an act can be taken back by: a job that is made again, or keys that say again what they said; undefined for none.
export function back(act) {
  if (act.action === 'deleted' && act.before) return store.jobs.has(act.job) ? 'Bring that document back …' : 'Bring back …';
  return changed.has(act.action) && (act.before || act.after) && store.jobs.has(act.job) ? 'Take back …' : undefined;
}

const without = (doc, keys) => Object.fromEntries(Object.entries(doc).filter(([key]) => !keys.includes(key)));

// wantedOf is the document that a job is to have, from what it has now, which is undefined if there is no such job.
function wantedOf(act, now) {
  if (act.action === 'deleted') return now ? { ...now, ...act.before } : act.before;
  return { ...without(now, Object.keys(act.after ?? {})), ...act.before };
}

// heirsOf lists the jobs that ran after a deleted job, and what they are to run after once it is back.
function heirsOf(act) {
  return Object.entries(act.children ?? {}).filter(([name]) => store.jobs.has(name)).map(([name, parents]) => {
    const now = store.jobs.get(name).parents ?? [], then = parents.filter(p => p === act.job || store.jobs.has(p));
    return { name, now, then, parents };
  }).filter(({ now, then }) => !api.same([...now].sort(), [...then].sort()));
}

// adopt has a job run after others, whatever it does now.
export async function adopt(name, parents, more, options) {
  const now = without(await api.document(name), ['schedule', 'scheduleTimeZone']);
  await api.saveJob({ ...now, parents, ...more }, false, options);
}

// askBack shows what taking an act back would change, and does that.
export async function askBack(act) {
  try {
    const now = store.jobs.has(act.job) ? await api.document(act.job) : undefined, wanted = wantedOf(act, now);
    const gone = (wanted.parents ?? []).filter(p => !store.jobs.has(p));
    await showPlan(act, now, wanted, heirsOf(act), gone);
  } catch (err) {
    toast(err.message, true);
  }
}

function showPlan(act, now, wanted, heirs, gone) {
  const list = changes(now ?? {}, wanted), whole = act.cut?.length > 0;
  return dialog(now ? `Change ${act.job} back?` : `Bring ${act.job} back?`, (done, el) => {
    const go = button(now ? 'Change it back' : 'Bring it back', async () => {
      const ok = await sender.send(async options => {
        await api.bringBack(wanted, options);
        for (const { name, then } of heirs) await adopt(name, then, {}, options);
      });
      if (!ok) return;
      toast(now ? `${act.job} says again what it said.` : `${act.job} is back.`);
      done(true);
    }, 'primary');
    go.disabled = whole || gone.length > 0 || list.length === 0 && heirs.length === 0;
    const sender = new Sender(go);
    sender.within(el);
    return [h('div', { class: 'dialog-body' },
      whole && h('p', { class: 'bad-text' }, `It can’t: ${act.cut.includes('*') ? 'the document was' : act.cut.join(', ') + ' was'} too large to be remembered.`),
      gone.length > 0 && h('p', { class: 'bad-text' }, `It ran after ${gone.join(', ')}, which ${gone.length === 1 ? 'is' : 'are'} gone. Bring ${gone.length === 1 ? 'that' : 'those'} back first.`),
      !now && h('p', {}, 'Its history is gone, and runs that were killed stay killed.', wanted.schedule && ' If it was deleted less than a day ago, its schedule goes on where it was; what fell due meanwhile is missed.'),
      list.length > 0 ? [now && h('h3', {}, plural(list.length, 'change')), list.map(c => c.element)] : heirs.length === 0 && h('p', {}, 'There is nothing to change: it says so already.'),
      heirs.length > 0 && [h('h3', {}, `${plural(heirs.length, 'job')} will run after it again`), h('ul', { class: 'names' }, heirs.map(({ name, now: parents, then, parents: before }) => h('li', {}, h('code', {}, name),
        ` after ${then.join(', ')} instead of ${parents.length ? parents.join(', ') : 'on a schedule of its own'}.`,
        then.length < before.length && ` ${before.filter(p => !then.includes(p)).join(', ')} ${before.length - then.length === 1 ? 'is' : 'are'} gone.`,
        store.jobs.get(name).disabled && ' It stays disabled.')))],
      sender.note), h('div', { class: 'dialog-foot' }, button('Cancel', () => done()), go)];
  }, true);
}
