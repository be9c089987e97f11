import { at, get, whenRefused } from './api.js';

// The store holds every job as a row of the overview, kept up to date by events.
export const store = {
  jobs: new Map(),      // by name
  children: new Map(),  // names of the children by parent
  info: null,           // the overview without its jobs
  skew: 0,              // the leader's clock relative to ours, in ms
  state: 'connecting',  // live, lost, denied: the password is refused
  since: 0,             // when it was lost
  loaded: false,
  partial: false,       // the rest of the jobs is still to come
};

const listeners = new Set();

// watch calls back after each change with the names that have changed, or null for all.
export function watch(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(names) {
  for (const listener of [...listeners]) listener(names);
}

function setState(state) {
  if (store.state === state) return;
  if (store.state === 'live') store.since = Date.now();
  store.state = state;
  tell(new Set());
}

// Without the right password nothing works until the page is loaded again, which has the browser ask for it.
whenRefused(() => {
  source?.close();
  source = null;
  clearTimeout(timer);
  setState('denied');
});

function linkParents(row, add) {
  for (const parent of row?.parents ?? []) {
    const kids = store.children.get(parent) ?? new Set();
    if (add) kids.add(row.name); else kids.delete(row.name);
    if (kids.size) store.children.set(parent, kids); else store.children.delete(parent);
  }
}

// resultOf is how the last run went. A job that has neither succeeded nor failed is fresh to the original, even if its runs were killed or lost.
function resultOf(row) {
  if (row.status !== 'fresh') return row.status;
  const ended = row.runs?.find(([letter]) => letter === 'k' || letter === 'x');
  return ended ? { k: 'killed', x: 'lost' }[ended[0]] : 'fresh';
}

function put(row) {
  row.result = resultOf(row);
  linkParents(store.jobs.get(row.name), false);
  store.jobs.set(row.name, row);
  linkParents(row, true);
}

function remove(name) {
  linkParents(store.jobs.get(name), false);
  store.jobs.delete(name);
}

let source = null, attempt = 0, timer = 0, last = '', loading = null;

// start loads everything and then follows.
export function start() {
  clearTimeout(timer);
  loading ??= load().finally(() => { loading = null; });
  return loading;
}

async function load() {
  source?.close();
  source = null;
  try {
    // What is shown already stays until all of its successor is there.
    const first = !store.loaded || store.partial, jobs = first ? null : [];
    let told = 200; // jobs
    const info = await readOverview(await get('overview?order=name'), head => {
      store.skew = Math.abs(head.time - Date.now()) > 1500 ? head.time - Date.now() : 0;
      if (first) begin(head);
    }, rows => {
      if (!first) { jobs.push(...rows); return; }
      for (const row of rows) put(row);
      if (store.jobs.size < told) return;
      told = store.jobs.size * 2;
      tell(null);
    });
    if (!first) {
      begin(info);
      for (const row of jobs) put(row);
    }
    store.partial = false;
    last = info.event;
    attempt = 0;
    store.error = '';
    follow();
    store.state = 'live';
    tell(null);
  } catch (err) {
    store.error = err.message;
    if (store.state === 'denied') return;
    setState('lost');
    later(start);
  }
}

function begin(info) {
  store.info = info;
  store.jobs = new Map();
  store.children = new Map();
  store.loaded = store.partial = true;
}

// readOverview reads an overview as it arrives: on its first line all but the jobs, and then a job on each.
async function readOverview(res, begin, more) {
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', info = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const end = value.lastIndexOf('\n');
    if (end < 0) { rest += value; continue; }
    let text = rest + value.slice(0, end);
    rest = value.slice(end + 1);
    if (!info) {
      const head = text.indexOf('\n');
      info = readHead((head < 0 ? text : text.slice(0, head)) + ']}');
      begin(info);
      if (head < 0) continue;
      text = text.slice(head + 1);
    }
    more(JSON.parse('[' + text.replace(/,$/, '') + ']'));
  }
  if (info && rest !== ']}') throw new Error('The list of jobs was cut off.');
  if (info) return info;
  // There are no jobs, or another version has answered.
  const { jobs } = JSON.parse(rest);
  info = readHead(rest);
  begin(info);
  more(jobs);
  return info;
}

function readHead(text) {
  const { jobs, ...info } = JSON.parse(text);
  return info;
}

function later(what) {
  clearTimeout(timer);
  timer = setTimeout(what, Math.min(500 * 2 ** attempt++, 10000));
}

// follow receives the events after the last one seen.
function follow() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(new URL('events?since=' + encodeURIComponent(last), at('')));
  const mine = source;
  source.onopen = () => { attempt = 0; setState('live'); };
  source.onmessage = event => { if (mine === source) apply(event); };
  source.addEventListener('reset', () => { mine.close(); if (mine === source) start(); });
  source.onerror = () => {
    if (mine !== source) return;
    setState('lost');
    mine.close();
    source = null;
    later(follow);
    // The browser does not say why it lost the connection.
    get('leader').catch(() => {});
  };
}

// apply takes one event: rows that are new or different, and names that are gone.
export function apply(event) {
  if (event.lastEventId) last = event.lastEventId;
  const change = JSON.parse(event.data);
  const names = new Set(change.removed);
  for (const name of change.removed ?? []) remove(name);
  for (const row of change.jobs ?? []) {
    put(row);
    names.add(row.name);
  }
  for (const key of ['queued', 'running', 'subscribed', 'invalidRecords']) {
    if (key in change) store.info[key] = change[key];
  }
  tell(names);
}

// A hidden page gives up its connection, because browsers allow only six per host.
let hiding = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => { source?.close(); source = null; clearTimeout(timer); }, 30e3);
  } else if (!source && store.loaded && !store.partial && !loading) follow();
});
addEventListener('online', () => { if (!source) store.loaded && !store.partial ? follow() : start(); });

// totals counts the jobs for each tile. Until all are there, it is the leader who has counted them.
export function totals() {
  if (store.partial && 'missedJobs' in store.info.totals) {
    const { totals: all, running } = store.info;
    return { ...all, fresh: all.fresh - all.killed - all.lost, runs: running, missed: all.missedJobs };
  }
  const t = { jobs: store.jobs.size, success: 0, failure: 0, fresh: 0, killed: 0, lost: 0, running: 0, runs: 0, queued: 0, disabled: 0, missed: 0, problems: 0 };
  for (const row of store.jobs.values()) {
    t[row.result]++;
    if (row.state !== 'idle') t[row.state]++;
    t.runs += row.running ?? 0;
    if (row.disabled) t.disabled++;
    if (row.problem) t.problems++;
    if (row.missed) t.missed++;
  }
  return t;
}

// relatives returns the names of everything above and below a job, itself included.
export function relatives(name) {
  const found = new Set([name]);
  const walk = next => {
    const seen = new Set([name]), todo = [name];
    while (todo.length) {
      for (const other of next(todo.pop()) ?? []) {
        if (seen.has(other)) continue;
        seen.add(other);
        found.add(other);
        todo.push(other);
      }
    }
  };
  walk(n => store.jobs.get(n)?.parents);
  walk(n => store.children.get(n));
  return found;
}
