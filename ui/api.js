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
  }
}

async function fail(res) {
  let text = await res.text().catch(() => '');
  try { text = JSON.parse(text).message ?? text; } catch { /* plain text, or a page */ }
  if (/^\s*</.test(text) && (res.headers.get('Content-Type') ?? '').includes('html')) text = '';
  text = text.replace(/^java\.lang\.\w+: /, '').replace(/^requirement failed: /, '').trim();
  throw new APIError(res.status, text || `${res.status} ${res.statusText}`);
}

export async function get(path, options) {
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

export const json = (path, options) => get(path, options).then(async res => parse(await res.text()));

// change makes a change. While no instance leads or answers it retries for half a minute:
// the id of the request makes sure that the change is made once, however often it arrives.
async function change(method, url, body, more) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join('');
  const headers = { 'X-Chronos-Request-Id': id, ...more };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const until = Date.now() + 30e3;
  for (let pause = 300; ; pause = Math.min(pause * 2, 3000)) {
    let res;
    try { res = await fetch(url, { method, headers, body }); } catch { /* no connection */ }
    if (res?.ok) return;
    const again = !res || res.status === 502 || res.status === 503 || res.status === 504;
    if (!again || Date.now() > until) {
      if (res) await fail(res);
      throw new APIError(0, 'Chronos does not answer. Nothing you entered has been lost; try again.');
    }
    await new Promise(done => setTimeout(done, pause));
  }
}

export const runJob = (name, args) => change('PUT', new URL(`job/${segment(name)}` + (args ? '?arguments=' + segment(args) : ''), plain));
export const killJob = name => change('DELETE', new URL(`task/kill/${segment(name)}`, plain));
export const deleteJob = name => change('DELETE', new URL(`job/${segment(name)}`, plain));
export const markSuccess = name => change('PUT', new URL(`job/success/${segment(name)}`, plain));
export const runs = (name, options) => json(`runs/${segment(name)}`, options);
export const queued = (name, options) => json(`queued/${segment(name)}`, options);
export const upcoming = (name, options) => json(`upcoming/${segment(name)}?count=10`, options);
export const output = (run, file, offset, options) => get(`run/${segment(run)}/${file}?offset=${offset}`, options);

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
export async function document(name) {
  const [two, three] = await Promise.all([json(new URL(`job/${segment(name)}`, plain)), json(`job/${segment(name)}`)]);
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
export function saveJob(doc, strict) {
  return change('POST', new URL(doc.parents ? 'dependency' : 'iso8601', plain), JSON.stringify(doc), strict && { Prefer: 'handling=strict' });
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
export async function alter(name, changes) {
  const doc = await document(name);
  await saveJob({ ...doc, ...changes });
}
