import * as api from './api.js';
import { confirm, dialog, h, button, field, replace, toast } from './dom.js';
import { plural } from './format.js';
import { store } from './live.js';
import { deleted, remember, switched } from './undo.js';

const names = (list, limit = 12) => h('ul', { class: 'names' }, list.slice(0, limit).map(name => h('li', {}, h('code', {}, name))),
  list.length > limit && h('li', { class: 'dim' }, `and ${list.length - limit} more`));

const runs = list => list.filter(name => store.jobs.get(name)?.state !== 'idle').length;

// fate says what becomes of the children when jobs are deleted one after the other.
export function fate(doomed) {
  const gone = new Set(doomed), lines = [];
  for (const name of doomed) {
    const row = store.jobs.get(name);
    for (const child of store.children.get(name) ?? []) {
      if (gone.has(child)) continue;
      const others = store.jobs.get(child).parents.filter(p => p !== name && !gone.has(p));
      if (row.parents) lines.push([child, `will run after ${[...new Set([...others, ...row.parents.filter(p => !gone.has(p))])].join(', ') || 'what these run after'} instead of ${name}`]);
      else if (others.length) lines.push([child, `will no longer wait for ${name}, only for ${others.join(', ')}`]);
      else lines.push([child, `takes over the schedule of ${name}: ${row.schedule}`]);
    }
  }
  if (lines.length === 0) return null;
  return h('div', {}, h('p', {}, `${plural(new Set(lines.map(l => l[0])).size, 'job')} run after ${doomed.length === 1 ? 'it' : 'them'} and stay:`),
    h('ul', { class: 'names' }, lines.slice(0, 20).map(([child, text]) => h('li', {}, h('code', {}, child), ' ' + text)),
      lines.length > 20 && h('li', { class: 'dim' }, `and ${lines.length - 20} more`)));
}

export const bulk = {
  run: { role: 'run', verb: 'Run', past: 'started', each: name => api.runJob(name), what: list => h('p', {}, `${plural(list.length, 'job')} will be run once, now, in addition to ${list.length === 1 ? 'its' : 'their'} schedule:`) },
  enable: { role: 'edit', verb: 'Enable', past: 'enabled', each: name => api.alter(name, { disabled: false }), what: list => h('p', {}, `${plural(list.length, 'job')} will be due again on schedule, starting with the next occurrence:`) },
  disable: { role: 'edit', verb: 'Disable', past: 'disabled', each: name => api.alter(name, { disabled: true }), what: list => h('p', {}, `${plural(list.length, 'job')} will not be due until enabled again. Runs under way go on:`) },
  kill: { role: 'run', verb: 'Kill', past: 'killed', danger: true, each: name => api.killJob(name), what: list => h('p', {}, `Every run of ${plural(list.length, 'job')} that waits or is under way will be killed (${runs(list)} of them ${runs(list) === 1 ? 'has' : 'have'} any):`) },
  delete: {
    role: 'edit', verb: 'Delete', past: 'deleted', danger: true, each: name => api.deleteJob(name),
    what: list => h('p', {}, `${plural(list.length, 'job')} will be permanently deleted, including history; ${runs(list) === 0 ? 'none of them runs now' : 'their runs are killed'}:`), more: fate,
  },
};

// runBulk asks, acts on each job, and returns the names of those for which it failed, undefined if the answer was no.
export async function runBulk(id, list) {
  const action = bulk[id];
  const go = await confirm(`${action.verb} ${plural(list.length, 'job')}?`, [action.what(list), names(list), action.more?.(list)], `${action.verb} ${plural(list.length, 'job')}`, action.danger);
  if (!go) return undefined;
  const undo = id === 'delete' ? await remember(list) : undefined, before = new Map(list.map(name => [name, store.jobs.get(name)?.disabled]));
  const waited = new Set(list.filter(name => store.jobs.get(name)?.state === 'queued'));
  const todo = [...list], failed = [], left = [];
  const work = async () => {
    for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
      try { await action.each(name); } catch (err) {
        if (!(err instanceof api.Cancelled)) { failed.push([name, err.message]); continue; }
        left.push(name, ...todo.splice(0));
      }
    }
  };
  await Promise.all(Array.from({ length: 6 }, work));
  const done = list.length - failed.length - left.length;
  const made = list.filter(name => !left.includes(name) && !failed.some(([n]) => n === name));
  if (done) sayDone(id, made, before, waited, undo);
  if (left.length) toast(`Cancelled: ${plural(left.length, 'job')} left as ${left.length === 1 ? 'it was' : 'they were'}, unless Chronos had received the change.`);
  if (failed.length) toast(`${plural(failed.length, 'job')} could not be ${action.past}: ${failed.slice(0, 3).map(([name, text]) => `${name} (${text})`).join('; ')}`, true);
  return [...failed.map(([name]) => name), ...left];
}

// sayDone says what was done to jobs, and offers to undo what can be undone.
function sayDone(id, names, before, waited, undo) {
  const changed = names.filter(name => Boolean(before.get(name)) !== (id === 'disable'));
  if (id === 'delete') deleted(names, undo);
  else if ((id === 'disable' || id === 'enable') && changed.length) switched(changed, id === 'disable', changed.some(name => waited.has(name)));
  else toast(`${plural(names.length, 'job')} ${bulk[id].past}.`);
}

// showWaiting keeps a place of the page up to date about the changes that wait and have no dialog that says so.
export function showWaiting(place) {
  api.whenWaiting(() => {
    const list = [...api.waiting].filter(entry => !entry.inDialog);
    place.hidden = list.length === 0;
    replace(place, list.length > 0 && [h('span', {}, 'Waiting for Chronos …', list.length > 1 && ` ${list.length} changes`), button('Cancel', () => list.forEach(entry => entry.cancel()), 'small')]);
  });
}

// attempt makes one change and shows how it went. It returns whether the change was made.
export async function attempt(what, done) {
  try {
    await what();
    if (done) toast(done);
    return true;
  } catch (err) {
    toast(err.message, !(err instanceof api.Cancelled));
    return false;
  }
}

// A Sender makes a change from a dialog: it says there that it waits or why it failed, and gives up when the dialog closes.
export class Sender {
  constructor(go) {
    this.go = go;
    this.stop = new AbortController();
    this.note = h('p', { role: 'alert' });
  }

  say(text, bad) {
    this.note.textContent = text;
    this.note.className = bad ? 'bad-text' : 'waiting-text';
  }

  // send returns whether the change was made.
  async send(what) {
    this.go.disabled = true;
    this.said = '';
    this.say('');
    try {
      await what({ signal: this.stop.signal, waits: waits => this.say(waits ? 'Waiting for Chronos … Cancel takes it back.' : '') });
      return true;
    } catch (err) {
      if (err instanceof api.Cancelled) toast(err.message);
      else this.say(err.message, true);
      this.said = err instanceof api.Cancelled ? '' : err.message;
      this.go.disabled = false;
      return false;
    }
  }

  // within has the sender give up when the dialog closes.
  within(el) { el.addEventListener('close', () => this.stop.abort()); }
}

export const semicolons = 'Chronos removes each ; from arguments, as the original does.';

// askRun asks for the arguments of one run, if whoever asks may give any, and starts it.
export function askRun(row, withArguments) {
  return dialog(`Run ${row.name} now`, (done, el) => {
    const removed = h('p', { class: 'waiting-text', role: 'status' });
    const args = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', autofocus: true, input: () => { removed.textContent = args.value.includes(';') ? semicolons : ''; } });
    const go = h('button', { type: 'submit', class: 'button primary' }, 'Run');
    const sender = new Sender(go);
    sender.within(el);
    return h('form', {
      submit: async event => {
        event.preventDefault();
        if (await sender.send(options => api.runJob(row.name, args.value, options))) done(true);
      },
    }, h('div', { class: 'dialog-body' },
      withArguments ? field('Arguments', args, 'For this run only, in place of the job’s own. Leave empty to run the job as it is.') : h('p', {}, 'The job runs as it is.'), removed, sender.note),
    h('div', { class: 'dialog-foot' }, button('Cancel', () => done()), go));
  });
}
