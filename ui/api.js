// Every URL is relative, because the page may be served below any path.
const base = new URL('.', location.href);
const root = new URL('v1/scheduler/', base);
const plain = new URL('scheduler/', base); // the 2.x dialect, which knows epsilon and async

export const at = path => new URL(path, root);
const segment = encodeURIComponent;

export class APIError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
    if (status === 401) refused();
  }
}

// refused is called when Chronos asks for a password.
let refused = () => {};
export const whenRefused = listener => { refused = listener; };

async function fail(res) {
  let text = await res.text().catch(() => '');
  try { text = JSON.parse(text).message ?? text; } catch { /* plain text, or a page */ }
  if (/^\s*</.test(text) && (res.headers.get('Content-Type') ?? '').includes('html')) text = '';
  text = text.replace(/^java\.lang\.\w+: /, '').replace(/^requirement failed: /, '').trim();
  throw new APIError(res.status, text || `${res.status} ${res.statusText}`);
}

async function once(path, options) {
  let res;
  try {
    res = await fetch(path instanceof URL ? path : at(path), { cache: 'no-store', ...options });
  } catch (err) {
    if (err.name === 'AbortError') throw err;
    throw new APIError(0, 'Chronos does not answer.');
  }
  if (!res.ok) await fail(res);
  return res;
}

// twice reads once more when the connection is lost meanwhile: a browser gives up whatever it is loading when its machine changes networks.
async function twice(read, { method = 'GET', signal } = {}) {
  try {
    return await read();
  } catch (err) {
    const lost = err instanceof TypeError || err instanceof APIError && err.status === 0;
    if (!lost || method !== 'GET') throw err;
  }
  await new Promise(done => { setTimeout(done, 500); });
  signal?.throwIfAborted();
  return read();
}

export const get = (path, options) => twice(() => once(path, options), options);

// anyway reads a document whatever the status: of health, 503 says that something is wrong.
const anyway = (url, options) => twice(async () => {
  const res = await fetch(url, { cache: 'no-store', ...options });
  if (!(res.headers.get('Content-Type') ?? '').includes('json')) await fail(res);
  return res.json();
}, options);

export const json = (path, options) => twice(async () => parse(await (await once(path, options)).text()), options);

// A change that was cancelled is not sent again.
export class Cancelled extends Error {}

// The changes that wait for Chronos, each { cancel, inDialog }; changed is called when one begins or ends to wait.
export const waiting = new Set();
let changed = () => {};
export const whenWaiting = listener => { changed = listener; };

function list(entry, waits) {
  if (waiting.has(entry) === waits) return;
  if (waits) waiting.add(entry); else waiting.delete(entry);
  entry.waits?.(waits);
  changed();
}

// patiently tries until Chronos answers, for half a minute, unless it is cancelled meanwhile: by signal, or by who sees that it waits.
async function patiently(attempt, { signal, waits } = {}) {
  const stop = new AbortController(), cancel = () => stop.abort();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel);
  const entry = { cancel, waits, inDialog: Boolean(signal) };
  const slow = setTimeout(() => list(entry, true), 1000), until = Date.now() + 30e3;
  try {
    for (let pause = 300; ; pause = Math.min(pause * 2, 3000)) {
      if (stop.signal.aborted) throw new Cancelled('Cancelled: it will not be sent again.');
      let res;
      try { res = await attempt(stop.signal); } catch { /* no connection */ }
      if (res?.ok) return res;
      if (!res && stop.signal.aborted) throw new Cancelled('Cancelled while it was being sent: look whether Chronos has received it.');
      const again = !res || res.status === 502 || res.status === 503 || res.status === 504;
      if (!again || Date.now() > until) {
        if (res) await fail(res);
        throw new APIError(0, 'Chronos does not answer. Nothing you entered has been lost; try again.');
      }
      list(entry, true);
      await new Promise(done => { setTimeout(done, pause); stop.signal.addEventListener('abort', done); });
    }
  } finally {
    clearTimeout(slow);
    signal?.removeEventListener('abort', cancel);
    list(entry, false);
  }
}

// change makes a change. While no instance leads or answers it waits:
// the id of the request makes sure that the change is made once, however often it arrives.
function change(method, url, { body, headers, ...options } = {}) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join('');
  const all = { 'X-Chronos-Request-Id': id, ...headers };
  if (body !== undefined) all['Content-Type'] = 'application/json';
  return patiently(signal => fetch(url, { method, headers: all, body, signal }), options);
}

export const runJob = (name, args, options) => change('PUT', new URL(`job/${segment(name)}` + (args ? '?arguments=' + segment(args) : ''), plain), options);
export const killJob = (name, options) => change('DELETE', new URL(`task/kill/${segment(name)}`, plain), options);
export const deleteJob = (name, options) => change('DELETE', new URL(`job/${segment(name)}`, plain), options);
export const markSuccess = (name, options) => change('PUT', new URL(`job/success/${segment(name)}`, plain), options);
export const runs = (name, options) => json(`runs/${segment(name)}`, options);
export const dagRun = (id, options) => json(`run/${segment(id)}/dag`, options);
export const followers = (name, options) => json(`followers/${segment(name)}`, options);
export const leaderHealth = options => json('leader/health', options);
export const instances = options => json('instances', options);
export const agents = options => json('agents', options);
export const notices = options => json('notices', options);
export const testNotice = (channel, to, options) => get(`notices/${segment(channel)}/test`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(to ? { to } : {}), ...options }).then(res => res.json());
export const queued = (name, options) => json(`queued/${segment(name)}`, options);
export const upcoming = (name, options) => json(`upcoming/${segment(name)}?count=10`, options);
export const outputURL = (run, file) => at(`run/${segment(run)}/${file}`);
export const output = (run, file, offset, { length, ...options }) => get(`run/${segment(run)}/${file}?offset=${offset}&length=${length}`, options);

export const pause = (name, until, options) => change('PUT', at(`pause/${segment(name)}?until=${segment(until)}`), options);
export const resume = (name, options) => change('DELETE', at(`pause/${segment(name)}`), options);
export const backfill = (name, doc, options) => change('POST', at(`backfill/${segment(name)}`), { body: JSON.stringify(doc), ...options });
export const backfillOf = (name, options) => json(`backfill/${segment(name)}`, options);
export const stopBackfill = (name, options) => change('DELETE', at(`backfill/${segment(name)}`), options);
export const health = options => anyway(new URL('health', base), options);
export const pools = options => json('pools', options);
export const postURL = doc => new URL(doc.parents ? 'dependency' : 'iso8601', plain);
export const timeline = (query, options) => json('timeline?' + new URLSearchParams(query), options);
export const days = (name, zone, options) => json(`days/${segment(name)}?zone=${segment(zone)}`, options);
export const recent = (names, runs, options) => json('recent?' + new URLSearchParams([...names.map(name => ['job', name]), ['runs', runs]]), options);
export const activity = (query, options) => json('activity?' + new URLSearchParams(query), options);
export const allRuns = (query, options) => json('runs?' + new URLSearchParams(query), options);

export async function preview(name, schedule, zone, epsilon, options) {
  const res = await get('schedule/preview', {
    method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: name || undefined, schedule, scheduleTimeZone: zone, epsilon: epsilon || undefined, count: 10 }), ...options,
  });
  return res.json();
}

// parse keeps numbers that JavaScript can't represent, if the browser allows it.
export function parse(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (key, value, context) => {
    if (typeof value !== 'number' || context?.source === undefined) return value;
    const exact = Number.isInteger(value) ? Number.isSafeInteger(value) : context.source.replace(/[eE].*|\D/g, '').replace(/^0+/, '').length <= 15;
    return exact ? value : JSON.rawJSON(context.source);
  });
}

// document reads all of a job: it merges both dialects, each of which leaves out some keys.
export async function document(name, read = json) {
  return joined(...await Promise.all([read(new URL(`job/${segment(name)}`, plain)), read(at(`job/${segment(name)}`))]));
}

// documents reads all of all jobs.
export async function documents() {
  const [two, three] = await Promise.all([json(new URL('jobs', plain)), json('jobs')]), found = new Map(two.map(doc => [doc.name, doc]));
  return three.map(doc => joined(found.get(doc.name) ?? doc, doc));
}

function joined(two, three) {
  const members = Object.entries(three);
  const put = (key, after) => {
    if (!(key in two) || key in three) return;
    members.splice(members.findIndex(([k]) => k === after) + 1, 0, [key, two[key]]);
  };
  put('epsilon', 'shell');
  put('async', 'description');
  for (const key of Object.keys(two)) {
    if (!members.some(([k]) => k === key)) members.push([key, two[key]]);
  }
  return Object.fromEntries(members);
}

// saveJob posts a job. If strict, a strange document is refused, because somebody is there to fix it.
export function saveJob(doc, strict, options) {
  return change('POST', postURL(doc), { body: JSON.stringify(doc), headers: strict && { Prefer: 'handling=strict' }, ...options });
}

// bringBack posts a job that was deleted: its schedule goes on where it was.
export function bringBack(doc, options) {
  const url = postURL(doc);
  if (!doc.parents) url.searchParams.set('resume', 'true');
  return change('POST', url, { body: JSON.stringify(doc), ...options });
}

// The keys of a job's document that Chronos itself updates.
export const counters = ['successCount', 'errorCount', 'errorsSinceLastSuccess', 'lastSuccess', 'lastError'];

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// merge brings an edit up to date with what the job has become since it was read. A key that
// only one side has changed is taken from that side; conflicts names those that both have changed.
export function merge(before, edited, now) {
  const conflicts = [], taken = [];
  const result = [];
  for (const key of new Set([...Object.keys(edited), ...Object.keys(now)])) {
    const mine = !same(before[key], edited[key]), theirs = !same(before[key], now[key]);
    if (theirs && mine && !same(edited[key], now[key]) && key !== 'schedule' && !counters.includes(key)) conflicts.push(key);
    const value = theirs && !mine ? now[key] : edited[key];
    if (theirs && !mine && key !== 'schedule' && !counters.includes(key)) taken.push(key);
    if (value !== undefined) result.push([key, value]);
  }
  return { doc: Object.fromEntries(result), conflicts, taken };
}

// alter changes some keys of a job as it is at this moment.
export async function alter(name, changes, options) {
  const read = async url => parse(await (await patiently(signal => fetch(url, { cache: 'no-store', signal }), options)).text());
  await saveJob({ ...await document(name, read), ...changes }, false, options);
}
