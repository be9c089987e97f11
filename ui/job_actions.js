import { attempt, Sender } from './actions.js';
import * as api from './api.js';
import { button, dialog, field, h, replace, toast } from './dom.js';
import { plural, time, viewerZone } from './format.js';
import { switched } from './undo.js';

const localText = ms => { const d = new Date(ms); return new Date(d - d.getTimezoneOffset() * 60e3).toISOString().slice(0, 16); };
const instantOf = input => new Date(input.value).toISOString();

// ask shows a form and sends what it says, until that is done or given up.
function ask(title, verb, fields, send) {
  return dialog(title, (done, el) => {
    const go = h('button', { type: 'submit', class: 'button primary' }, verb), sender = new Sender(go);
    sender.within(el);
    return h('form', { submit: async event => { event.preventDefault(); if (await sender.send(send)) done(true); } },
      h('div', { class: 'dialog-body' }, fields, sender.note), h('div', { class: 'dialog-foot' }, button('Cancel', () => done()), go));
  });
}

const moment = ms => h('input', { type: 'datetime-local', value: localText(ms), required: true });

// askPause asks until when a job rests.
async function askPause(row) {
  const until = moment(Date.now() + 864e5);
  if (await ask(`Pause ${row.name}`, 'Pause', field('Until', until, `In ${viewerZone}. What falls due until then is skipped; runs under way go on.`), options => api.pause(row.name, instantOf(until), options))) toast('Paused.');
}

// pauseOrResume asks until when a job rests, or has one that rests go on.
export const pauseOrResume = row => row.pausedUntil ? attempt(() => api.resume(row.name), 'It is due again on schedule.') : askPause(row);

// toggle disables or enables a job. Waits is whether a run of it waits, which ends with that.
export async function toggle(row, waits = row.state === 'queued') {
  const disabled = !row.disabled;
  if (await attempt(() => api.alter(row.name, { disabled }))) switched([row.name], disabled, waits);
}

// askBackfill asks which instants that have passed run once more.
export async function askBackfill(row, then) {
  const from = moment(Date.now() - 7 * 864e5), to = moment(Date.now());
  const fields = [h('p', {}, 'Each instant of its schedule in this time runs once more, one after the other.'), field('From', from, `In ${viewerZone}`), field('To', to, 'Not included')];
  if (!await ask(`Backfill ${row.name}`, 'Start', fields, options => api.backfill(row.name, { from: instantOf(from), to: instantOf(to) }, options))) return;
  toast('The backfill has begun.');
  then();
}

// showBackfill shows how far the backfill of a job is, and returns whether there is one.
export async function showBackfill(place, name, mayEdit, options) {
  try {
    const b = await api.backfillOf(name, options);
    const done = b.total - b.left - b.running;
    replace(place, h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, 'Backfill'), h('span', { class: 'dim' }, `${done} of ${plural(b.total, 'instant')}`),
      mayEdit && button('Stop', () => attempt(() => api.stopBackfill(name), 'The backfill was stopped. What is open goes on.'), 'small')),
    h('p', { class: 'pad' }, h('progress', { max: b.total, value: done, 'aria-label': 'Progress of the backfill' }), b.next && [' next: ', time(Date.parse(b.next))])));
    return true;
  } catch (err) {
    if (err.name === 'AbortError') throw err;
    replace(place);
    return false;
  }
}

// whyNot says why a job does not follow a run of one that it depends on.
function whyNot(f) {
  if (f.disabled) return 'is disabled';
  if (f.paused) return 'is paused';
  if (f.onFailure) return 'runs after a failure only';
  return `waits for ${[...f.waitsFor ?? [], f.moreParents && plural(f.moreParents, 'other')].filter(Boolean).join(', ')} too`;
}

const jobNames = (list, text, most = 12) => h('ul', { class: 'names' }, list.slice(0, most).map(f => h('li', {}, h('code', {}, f.job), text && ` ${text(f)}`)), list.length > most && h('li', { class: 'dim' }, `and ${list.length - most} more`));

// askRunFrom says what follows a run of a job, and starts it. Then it shows the run with all that belongs to it.
export async function askRunFrom(name) {
  let doc;
  if (!await attempt(async () => { doc = await api.followers(name); })) return;
  const runs = doc.followers.filter(f => f.follows), stay = doc.followers.filter(f => !f.follows);
  const fields = [h('p', {}, 'It is started by hand, now.', runs.length > 0 && ` If all goes well, ${plural(runs.length, 'job')} will follow:`), runs.length > 0 && jobNames(runs),
    stay.length > 0 && [h('p', {}, `${plural(stay.length, 'job')} will not:`), jobNames(stay, whyNot), stay.some(f => f.waitsFor) && h('p', { class: 'dim' }, 'Each parent has to succeed once more. A job that waits can be started by hand all the same.')],
    doc.partial && h('p', { class: 'dim' }, 'There are more jobs below.'), doc.followers.length === 0 && h('p', {}, 'No other job depends on it.')];
  let id = '';
  if (await ask(`Run ${name} and what follows`, 'Run', fields, async options => { id = (await api.runJob(name, '', options)).headers.get('X-Chronos-Run'); }) && id) location.hash = '#dag/' + encodeURIComponent(id);
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

// copyText puts a text on the clipboard, which only secure pages have; others select it.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h('textarea', { value: text, 'aria-hidden': 'true' });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

// copyCurl copies the command that makes the job as it is.
export async function copyCurl(name) {
  await attempt(async () => {
    const doc = await api.document(name);
    await copyText(`curl -H 'Content-Type: application/json' ${quoted(String(api.postURL(doc)))} \\\n  -d ${quoted(JSON.stringify(doc))}`);
  }, 'Copied: a command that makes this job as it is.');
}
