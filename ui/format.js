import { h } from './dom.js';
import { store } from './live.js';

const formats = new Map();

// format returns the same formatter for the same zone and options, since formatters are slow to create.
function format(zone, options) {
  let ofZone = formats.get(zone);
  if (!ofZone) formats.set(zone, ofZone = new Map());
  let found = ofZone.get(options);
  if (!found) ofZone.set(options, found = new Intl.DateTimeFormat(undefined, { timeZone: zone, ...options }));
  return found;
}

export const viewerZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

// now is the leader's time, as far as it is known: viewers' clocks are often wrong.
export function now() { return Date.now() + store.skew; }

const full = { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short' };

export function validZone(zone) {
  if (!zone) return false;
  try { format(zone, full); return true; } catch { return false; }
}

// instant names an instant in every zone that matters.
export function instant(ms, zone) {
  const date = new Date(ms);
  if (isNaN(date)) return '';
  const lines = [`${format(viewerZone, full).format(date)} (yours)`];
  if (validZone(zone) && zone !== viewerZone) lines.push(`${format(zone, full).format(date)} (${zone})`);
  lines.push(date.toISOString());
  return lines.join('\n');
}

// short is a time as short as it can be: without the date today, without the year this year.
export function short(ms, zone = viewerZone) {
  const date = new Date(ms), today = now();
  if (isNaN(date)) return '';
  const time = format(zone, clock).format(date);
  if (Math.abs(ms - today) < 864e5 && format(zone, day).format(date) === format(zone, day).format(today)) return time;
  return format(zone, date.getFullYear() === new Date(today).getFullYear() ? dayOfYear : day).format(date) + ', ' + time.slice(0, 5);
}

const clock = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
const dayOfYear = { day: 'numeric', month: 'short' }, day = { day: 'numeric', month: 'short', year: 'numeric' };

export function time(ms, zone) {
  if (!ms) return h('span', { class: 'dim' }, '–');
  const date = new Date(ms);
  if (isNaN(date)) return h('span', {}, String(ms));
  return h('time', { datetime: date.toISOString(), dataset: { zone: zone || '' } }, short(date.getTime()));
}

// Hover texts are computed on demand, because formatting times is slow.
document.addEventListener('pointerover', event => {
  const el = event.target.closest?.('time[data-zone], i[data-due]');
  if (!el || el.title) return;
  if (el.dataset.due) el.title = `${el.classList[1]}, due ${short(Number(el.dataset.due))}` + (el.dataset.took ? `, took ${duration(Number(el.dataset.took))}` : '');
  else el.title = instant(Date.parse(el.dateTime), el.dataset.zone);
});

export function duration(ms) {
  if (ms === undefined || ms === null) return '–';
  const sign = ms < 0 ? '−' : '';
  ms = Math.abs(ms);
  if (ms < 1000) return `${sign}${Math.round(ms)} ms`;
  if (ms < 60e3) return `${sign}${(ms / 1000).toFixed(ms < 10e3 && ms % 1000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1000), minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  const and = (n, unit) => n ? ` ${n} ${unit}` : '';
  if (days) return `${sign}${days} d${and(hours % 24, 'h')}`;
  if (hours) return `${sign}${hours} h${and(minutes % 60, 'min')}`;
  return `${sign}${minutes} min${and(seconds % 60, 's')}`;
}

// Texts that change with time: each is rewritten every second while it is in the page.
const ticking = new Set();

export function ticker(write) {
  const el = h('span', { class: 'ticker' });
  const tick = { el, write, fresh: true };
  el.textContent = write();
  ticking.add(tick);
  return el;
}

setInterval(() => {
  for (const tick of ticking) {
    if (tick.el.isConnected) {
      tick.fresh = false;
      const text = tick.write();
      if (tick.el.textContent !== text) tick.el.textContent = text;
    } else if (!tick.fresh) ticking.delete(tick);
    else tick.fresh = false;
  }
}, 1000);

export const elapsed = since => ticker(() => since ? duration(Math.max(0, Math.floor((now() - since) / 1000) * 1000)) : '');
export const countdown = to => ticker(() => {
  const left = Math.round((to - now()) / 1000) * 1000;
  return left <= 0 ? 'due' : 'in ' + duration(left);
});
export const ago = ms => ticker(() => {
  const d = Math.floor((now() - ms) / 1000) * 1000;
  return d < 1000 ? 'just now' : duration(d) + ' ago';
});

// The states of runs by their letters in a row of the overview.
export const runStates = {
  q: 'queued', l: 'launching', a: 'active', w: 'awaiting', s: 'finished', f: 'failed', k: 'killed', x: 'lost', m: 'missed', n: 'skipped',
};
export const openStates = new Set(['queued', 'launching', 'active', 'awaiting']);

export function badge(kind, text = kind) { return h('span', { class: 'badge ' + kind }, text); }

// For those who don't see the colours, shapes differ: squares are fine, tall bars are not, hollow ones didn't run.
export function squares(row) {
  const runs = (row.runs ?? []).slice().reverse();
  const text = runs.length === 0 ? 'no runs yet' : 'last runs: ' + runs.map(r => runStates[r[0]]).join(', ');
  return h('span', { class: 'squares', role: 'img', 'aria-label': text },
    runs.map(([letter, due, , took]) => h('i', {
      class: 'sq ' + runStates[letter], dataset: took === undefined ? { due } : { due, took },
    })));
}

export function stateBadges(row) {
  return [
    row.disabled && badge('disabled'),
    row.problem && badge('problem'),
    row.pausedUntil && badge('paused'),
    row.backfill && badge('backfill', `backfill ${row.backfill[0]} of ${row.backfill[1]}`),
    row.state === 'running' ? badge('running', row.running > 1 ? `${row.running} running` : 'running') : row.state === 'queued' && badge('queued'),
    row.result !== 'fresh' ? badge(row.result) : row.state === 'idle' && badge('fresh', 'not run yet'),
  ];
}

// jobType says what starts a job.
export function jobType(row) {
  if (row.parents) return 'dependent';
  return /^R?\d*\//.test(row.schedule ?? '') ? 'interval' : 'cron';
}

export function trigger(row) {
  return row.parents ? 'after ' + row.parents.join(', ') : row.schedule;
}

export const count = n => (n ?? 0).toLocaleString();
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;
