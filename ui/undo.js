import * as api from './api.js';
import { adopt } from './bring_back.js';
import { toast } from './dom.js';
import { plural } from './format.js';
import { store } from './live.js';

const most = 200; // jobs whose deletion can be undone

// remember reads what a deletion takes away: the jobs, and what their children run after. It returns what brings that back, undefined if it is too much.
export async function remember(names) {
  const gone = new Set(names), heirs = new Set(names.flatMap(name => [...store.children.get(name) ?? []]).filter(name => !gone.has(name)));
  if (gone.size + heirs.size > most) return undefined;
  try {
    const [jobs, children] = await Promise.all([gone, heirs].map(set => Promise.all([...set].map(name => api.document(name)))));
    return () => bringBack(jobs, children);
  } catch {
    return undefined; // then it cannot be undone
  }
}

// bringBack posts jobs again, parents before children, and has the children that stayed run after them again.
async function bringBack(jobs, children) {
  const left = new Map(jobs.map(doc => [doc.name, doc]));
  while (left.size) {
    const ready = [...left.values()].filter(doc => !doc.parents?.some(p => left.has(p)));
    for (const doc of ready.length ? ready : left.values()) {
      await api.bringBack(doc);
      left.delete(doc.name);
    }
  }
  for (const before of children) {
    await adopt(before.name, before.parents, { disabled: before.disabled });
  }
}

// offerUndo says what was done, and offers for ten seconds to undo it.
export function offerUndo(text, undo, done) {
  toast(text, false, undo && {
    label: 'Undo', act: async () => {
      try {
        await undo();
        toast(done);
      } catch (err) {
        toast(`It could not be undone: ${err.message}`, !(err instanceof api.Cancelled));
      }
    },
  });
}

export const deleted = (names, undo) => offerUndo(`${names.length === 1 ? names[0] + ' was' : plural(names.length, 'job') + ' were'} deleted.`, undo,
  `${names.length === 1 ? names[0] + ' is' : 'The jobs are'} back, and so is what their children run after. History is not, and killed runs stay killed.`.replace('their', names.length === 1 ? 'its' : 'their'));

// switched says that jobs were enabled or disabled. Only those that were not so before are named. Waiting are the runs that ended with that.
export const switched = (names, disabled, waiting) => offerUndo(`${names.length === 1 ? names[0] + ' was' : plural(names.length, 'job') + ' were'} ${disabled ? 'disabled' : 'enabled'}.`,
  () => Promise.all(names.map(name => api.alter(name, { disabled: !disabled }))), disabled && waiting ? 'Enabled again. Runs that waited were skipped, and stay so.' : 'It is as it was before.');
