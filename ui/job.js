import * as api from './api.js';
import { askRun, attempt, fate, semicolons } from './actions.js';
import { may, needsOf } from './access.js';
import { button, confirm, empty, h, hashOf, link, replace, toast } from './dom.js';
import { ago, badge, count, countdown, duration, elapsed, instant, jobType, openStates, plural, short, squares, stateBadges, time, validZone, viewerZone } from './format.js';
import { store } from './live.js';
import { note, redraw } from './app.js';
import { chart } from './chart.js';
import { heatMap } from './heat.js';
import { icon } from './icons.js';
import { policies } from './policies.js';
import { occurrences } from './schedule.js';
import { LogView } from './log.js';
import { askBackfill, askRunFrom, copyCurl, pauseOrResume, showBackfill, toggle } from './job_actions.js';
import { causes, dagHash, showCauses } from './dagrun.js';
import { deleted, remember } from './undo.js';

export default function job(main, [name], query) {
  if (!store.jobs.has(name)) {
    replace(main, empty(`There is no job “${name}”.`, link('All jobs', '#jobs')));
    return { update: () => { if (store.jobs.has(name)) redraw(); } };
  }
  const page = new JobPage(main, name);
  page.load(query.get('run'), query.get('file'), query.get('at'));
  return page;
}

class JobPage {
  constructor(main, name) {
    this.name = name;
    this.main = main;
    this.cancel = new AbortController();
    this.head = h('div', { class: 'job-head' });
    this.alerts = h('div');
    this.why = h('div');
    this.backfill = h('div');
    this.causes = h('div');
    this.runs = h('div', {}, h('p', { class: 'dim pad' }, 'Loading …'));
    this.chart = h('div', { class: 'chart-box' });
    this.days = h('div');
    this.log = h('section', { class: 'panel log-panel', hidden: true, 'aria-label': 'Output' });
    this.facts = h('div');
    this.next = h('div', {}, h('p', { class: 'dim pad' }, 'Loading …'));
    this.family = h('div');
    this.definition = h('div', {}, h('p', { class: 'dim pad' }, 'Loading …'));
    const panel = (title, ...body) => h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, title)), body);
    this.relatives = panel('Parents and children', this.family);
    this.resize = new ResizeObserver(() => this.showChart());
    this.resize.observe(this.runs);
    replace(main, this.head, this.alerts, h('div', { class: 'job-columns' }, this.relatives,
      h('div', { class: 'job-main' }, this.why, this.backfill, this.causes, this.log, panel('Runs', this.chart, this.days, this.runs)),
      h('div', { class: 'job-side' }, panel('Job', this.facts), panel('Next runs', this.next),
        h('details', { class: 'panel fold' }, h('summary', {}, h('h2', {}, 'Definition')), this.definition))));
  }

  get row() { return store.jobs.get(this.name); }

  // mayEdit is false until it is known what the job has that gives more than a command.
  mayEdit() {
    if (!store.info?.user) return true;
    return this.needs !== undefined && may('edit', this.row, this.needs);
  }

  async load(run, file, at) {
    this.show();
    this.refreshDocument();
    this.showDays();
    await this.refreshRuns();
    const id = this.idOf(run) ?? await this.pastRun(run);
    if (id) this.openLog(id, file || 'stdout', at === null ? undefined : Number(at));
  }

  // idOf finds the run that an address names: by its id, by when it was due, or the latest.
  idOf(run) {
    const has = r => r.launched || r.started;
    if (run === 'latest') return this.list?.find(has)?.id;
    if (!run?.startsWith('due:')) return run;
    const due = Number(run.slice('due:'.length)), at = this.list?.filter(r => Date.parse(r.due) === due) ?? [];
    const found = at.find(has);
    if (!found) {
      note(hashOf(this.name));
      for (const r of at.slice(0, 1)) this.runs.querySelector(`tr[data-run="${CSS.escape(r.id)}"]`)?.classList.add('current');
    }
    return found?.id;
  }

  // pastRun finds a run that is no longer in the history, by when it was due.
  async pastRun(run) {
    const due = run?.startsWith('due:') ? Number(run.slice('due:'.length)) : NaN;
    if (!Number.isSafeInteger(due) || this.list?.some(r => Date.parse(r.due) === due)) return undefined;
    try {
      const doc = await api.allRuns({ job: this.name, from: new Date(due).toISOString(), to: new Date(due + 1).toISOString() }, { signal: this.cancel.signal });
      this.past = doc.runs.find(r => r.launched || r.started);
    } catch { /* it is gone, or nothing can be read now */ }
    return this.past?.id;
  }

  // showDays asks how many runs there were on each day, again as long as the leader reads on.
  async showDays(before = Infinity) {
    try {
      const doc = await api.days(this.name, viewerZone, { signal: this.cancel.signal });
      this.counted = Date.now();
      const focused = this.days.contains(document.activeElement), map = heatMap(this.name, doc);
      if (!focused) replace(this.days, map && [map, h('p', { class: 'pad' }, link('All runs', '#runs?job=' + encodeURIComponent(this.name)))]);
      const box = this.days.querySelector('.heat-box');
      if (box && !focused) box.scrollLeft = box.scrollWidth; // the latest days
      if (doc.unread > 0 && doc.unread < before) await this.showDays(doc.unread);
    } catch (err) {
      if (err.name !== 'AbortError') replace(this.days);
    }
  }

  show() {
    const row = this.row;
    const act = (label, what, kind) => button(label, what, kind), drawn = (name, label, what, kind) => button([icon(name), label], what, kind);
    replace(this.head, h('div', { class: 'title' }, h('h1', {}, this.name), stateBadges(row)),
      row.description && h('p', { class: 'lead' }, row.description),
      h('div', { class: 'actions' },
        may('run', row) && drawn('run', 'Run now', () => this.run(), 'primary'),
        this.mayEdit() && link([icon('edit'), 'Edit'], hashOf(this.name) + '/edit', { class: 'button' }),
        this.mayEdit() && drawn('power', row.disabled ? 'Enable' : 'Disable', () => this.toggle()),
        row.state !== 'idle' && may('run', row) && drawn('kill', 'Kill', () => this.kill(), 'danger'),
        h('details', { class: 'menu' }, h('summary', { class: 'button' }, 'More'), h('div', { class: 'menu-items' },
          this.mayEdit() && link('Duplicate', '#new?from=' + encodeURIComponent(this.name)),
          this.mayEdit() && act(row.pausedUntil ? 'Resume' : 'Pause until …', () => pauseOrResume(row)),
          this.mayEdit() && !row.parents && act('Backfill …', () => askBackfill(row, () => this.refreshRuns())),
          may('run', row) && store.children.has(this.name) && act('Run with what follows …', () => askRunFrom(this.name)),
          act('Copy as curl', () => copyCurl(this.name)),
          may('run', row) && act('Mark success', () => this.markSuccess()),
          link('Show in graph', '#graph/' + encodeURIComponent(this.name)),
          link('Who changed it', '#activity?job=' + encodeURIComponent(this.name)),
          may('edit', row) && act('Delete', () => this.delete(), 'danger')))));
    replace(this.alerts, row.pausedUntil && h('div', { class: 'alert' }, 'Paused until ', time(row.pausedUntil, row.scheduleTimeZone), ': what falls due until then is skipped.'), row.warnings && h('div', { class: 'alert' }, h('strong', {}, 'Its document says something strange:'), h('ul', {}, row.warnings.map(w => h('li', {}, w)))), row.problem && h('div', { class: 'alert bad' }, h('strong', {}, 'It can’t be scheduled: '), row.problem));
    this.showFacts();
    this.showFamily();
  }

  showFacts() {
    const row = this.row, zone = row.scheduleTimeZone;
    const fact = (term, ...value) => [h('dt', {}, term), h('dd', {}, value)];
    replace(this.facts, h('dl', { class: 'facts' },
      fact('Command', row.command ? h('code', { class: 'wrap' }, row.command) : '–'),
      row.parents ? fact({ failure: 'Runs after a failure of', end: 'Runs after any end of' }[row.runOn] ?? 'Runs after', row.parents.map((p, i) => [i > 0 && ', ', link(p, hashOf(p))]))
        : fact('Runs', row.words && h('div', { class: 'words' }, row.words), h('code', { class: 'wrap dim' }, row.schedule || '–'), ' ', h('small', { class: 'dim' }, jobType(row))),
      zone && fact('Time zone', zone),
      row.next && fact('Next', time(row.next, zone), ' ', h('span', { class: 'dim' }, countdown(row.next))),
      row.next && validZone(zone) && zone !== viewerZone && fact('', h('span', { class: 'dim', title: instant(row.next, zone) }, `${short(row.next, zone)} in ${zone}`)),
      (row.owner || row.ownerName) && fact('Owner', [row.ownerName, row.owner].filter(Boolean).join(', ')),
      row.image && fact('Image', h('code', { class: 'wrap' }, row.image)),
      fact('Succeeded', times(row.successCount), row.lastSuccess && [', last ', whenAgo(row.lastSuccess)]),
      fact('Failed', times(row.errorCount), row.lastError && [', last ', whenAgo(row.lastError)]),
      row.missed && fact('Missed', plural(row.missed, 'occurrence')),
      this.doc && manners(this.doc, fact)));
  }

  showFamily() {
    const row = this.row, children = [...store.children.get(this.name) ?? []];
    const list = (title, names) => names.length > 0 && [h('h3', {}, title), h('ul', { class: 'lines' }, names.slice(0, 50).map(n => {
      const other = store.jobs.get(n);
      return h('li', {}, link(n, hashOf(n), { class: 'name' }), other ? [squares(other), h('span', { class: 'end' }, stateBadges(other))] : h('span', { class: 'dim' }, 'does not exist'));
    }), names.length > 50 && h('li', { class: 'dim' }, `and ${names.length - 50} more`))];
    this.relatives.hidden = !row.parents && !children.length;
    replace(this.family, list('Runs after', row.parents ?? []), list('Then come', children), h('p', { class: 'pad' }, link([icon('graph'), 'Show in graph'], '#graph/' + encodeURIComponent(this.name), { class: 'iconed' })));
  }

  async refreshDocument() {
    const options = { signal: this.cancel.signal };
    try {
      const [doc, next] = await Promise.all([api.document(this.name), api.upcoming(this.name, options)]);
      const could = this.mayEdit();
      this.doc = doc;
      this.needs = needsOf(doc);
      if (could !== this.mayEdit()) this.show(); else this.showFacts();
      replace(this.definition, h('pre', { class: 'json', tabindex: 0 }, JSON.stringify(doc, null, 2)), this.mayEdit() && h('p', { class: 'pad' }, link('Edit', hashOf(this.name) + '/edit')));
      replace(this.next, next.parents ? h('p', { class: 'dim pad' }, { failure: 'It runs when its parents have ended, and one of them has failed for good.', end: 'It runs when all its parents have ended.' }[this.row.runOn] ?? 'It runs when all its parents have finished.')
        : next.disabled ? h('p', { class: 'dim pad' }, 'It is disabled.') : occurrences(next.upcoming, next.scheduleTimeZone));
    } catch (err) {
      if (err.name !== 'AbortError') replace(this.next, h('p', { class: 'bad-text pad' }, err.message));
    }
  }

  // refreshRuns returns once runs are shown that were read after the call.
  refreshRuns() {
    this.again = true;
    this.fetching ??= this.readRuns().finally(() => { this.fetching = null; });
    return this.fetching;
  }

  async readRuns() {
    try {
      do {
        this.again = false;
        const options = { signal: this.cancel.signal };
        const doc = await api.runs(this.name, options);
        this.list = [...doc.open.reverse(), ...doc.history];
        this.showRuns();
        if (this.list.some(r => r.kind === 'backfill') || this.filling) this.filling = await showBackfill(this.backfill, this.name, this.mayEdit(), options);
        if (doc.open.some(r => r.state === 'queued')) {
          const why = await api.queued(this.name, options);
          this.showWhy(why.queued);
        } else replace(this.why);
      } while (this.again);
    } catch (err) {
      if (err.name !== 'AbortError') replace(this.runs, h('p', { class: 'bad-text pad' }, err.message));
    }
  }

  showWhy(queued) {
    replace(this.why, queued.length > 0 && h('section', { class: 'panel waits' }, h('div', { class: 'panel-head' }, h('h2', {}, 'Why it waits')),
      h('ul', { class: 'lines' }, queued.slice(0, 5).map(({ position, reasons, run }) => h('li', { class: 'block' },
        h('div', {}, badge('queued'), ' since ', time(Date.parse(run.queued ?? run.due)), position >= 0 && ` · ${position === 0 ? 'first in the queue' : plural(position, 'run') + ' ahead of it'}`),
        h('ul', {}, reasons.map(r => h('li', {}, r))))))));
  }

  showRuns() {
    const list = this.list;
    this.showChart(true);
    if (list.length === 0) { replace(this.runs, empty('It has not run yet.')); return; }
    const cell = (label, ...content) => h('td', { 'data-label': label }, content);
    replace(this.runs, h('div', { class: 'table-box', tabindex: 0, role: 'region', 'aria-label': 'Runs' }, h('table', { class: 'runs' },
      h('thead', {}, h('tr', {}, ['State', 'Due', 'Late', 'Took', 'Output', 'Why', 'Where', 'Attempt'].map(t => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, list.map(r => h('tr', { class: this.view?.run === r.id ? 'current' : '', dataset: { run: r.id } },
        cell('State', badge(r.state), r.killing && h('small', { class: 'dim' }, ' being killed'), h('small', { class: 'dim' }, r.kind)),
        cell('Due', time(Date.parse(r.due), this.row?.scheduleTimeZone), r.occurrences > 1 && h('small', { class: 'dim', title: 'from ' + r.from }, plural(r.occurrences, 'occurrence'))),
        cell('Late', r.lateMs !== undefined ? duration(r.lateMs) : '–'),
        cell('Took', r.durationMs !== undefined ? duration(r.durationMs) : r.started && openStates.has(r.state) ? elapsed(Date.parse(r.started)) : '–'),
        cell('Output', r.launched || r.started ? [logLink(this, r, 'stdout'), ' ', logLink(this, r, 'stderr')] : '–'),
        cell('Why', r.state === 'finished' && / status 0$/.test(r.reason) ? '' : r.reason || (r.exit ? `exit status ${r.exit}` : ''), r.arguments !== undefined && h('small', { class: 'dim' }, 'arguments: ', h('code', {}, r.arguments)), this.belongs(r)),
        cell('Where', r.agent || r.agentId || '–'),
        cell('Attempt', String(r.attempt + 1))))))));
    this.view?.see(list.find(r => r.id === this.view.run));
  }

  // belongs says which runs of its parents caused a run, and leads to all that belongs together.
  belongs(r) {
    if (!r.causedBy && !r.moreCauses && !r.retryOf && !store.children.has(this.name)) return null;
    return h('small', { class: 'dim' }, (r.causedBy || r.moreCauses || r.retryOf) && ['after ', causes(r), ' · '], link('DAG run', dagHash(r.id), { class: 'underlined' }));
  }

  // showChart draws the chart again if its runs or its width are others.
  showChart(other) {
    const width = this.runs.clientWidth - 28; // of the box, which is not there while it is empty, with its padding
    if (!this.list || width <= 0 || !other && this.drawn === width) return;
    this.drawn = width;
    const kept = this.chart.contains(document.activeElement) && document.activeElement.getAttribute('aria-label');
    replace(this.chart, chart(this.list.filter(r => r.durationMs !== undefined), run => this.openLog(run.id, 'stdout'), width));
    if (kept) this.chart.querySelector(`[aria-label="${CSS.escape(kept)}"]`)?.focus();
  }

  openLog(id, file, at) {
    this.view?.close();
    const link = (shown, offset) => `${hashOf(this.name)}?run=${encodeURIComponent(id)}&file=${shown}${offset === undefined ? '' : `&at=${offset}`}`;
    this.view = new LogView(this.log, {
      run: id, file, at, link, record: [...this.list ?? [], this.past].find(r => r?.id === id), noted: (shown, offset) => note(link(shown, offset)),
      closed: () => {
        this.view = null;
        replace(this.causes);
        note(hashOf(this.name));
        this.mark();
      },
    });
    showCauses(this.causes, id, { signal: this.cancel.signal });
    this.mark();
    this.log.scrollIntoView({ block: 'nearest' });
  }

  mark() {
    for (const tr of this.runs.querySelectorAll('tr[data-run]')) tr.classList.toggle('current', tr.dataset.run === this.view?.run);
  }

  async run() {
    const known = new Set(this.list?.map(r => r.id));
    if (!await askRun(this.row, this.mayEdit())) return;
    toast('Started.');
    await this.refreshRuns();
    const started = this.list?.find(r => r.kind === 'manual' && !known.has(r.id));
    if (started) this.openLog(started.id, 'stdout');
  }

  toggle() { return toggle(this.row, this.row.state === 'queued' || this.list?.some(r => r.state === 'queued')); }

  key(event, typing) {
    if (typing || event.target.closest('.log, button, summary')) return false;
    if (event.key === 'r' && may('run', this.row)) this.run();
    else if (event.key === 'e' && this.mayEdit()) location.hash = hashOf(this.name) + '/edit';
    else return false;
    return true;
  }

  async kill() {
    const row = this.row;
    if (await confirm(`Kill the runs of ${this.name}?`, h('p', {}, row.running ? `${plural(row.running, 'run')} will be killed, and waiting runs are dropped.` : 'The waiting run is dropped.'), 'Kill', true)) {
      await attempt(() => api.killJob(this.name), 'Kill requested.');
    }
  }

  async markSuccess() {
    const children = [...store.children.get(this.name) ?? []];
    const what = h('p', {}, 'A success is now counted as if a run had finished', children.length ? `, and ${children.length === 1 ? children[0] : plural(children.length, 'job')} that waited for it may start.` : '.');
    if (await confirm(`Mark ${this.name} as successful?`, what, 'Mark success')) await attempt(() => api.markSuccess(this.name), 'Marked as successful.');
  }

  async delete() {
    const what = [h('p', {}, `${this.name} will be permanently deleted, with its history. `, this.row.state !== 'idle' && 'Its runs are killed.'), fate([this.name])];
    if (!await confirm(`Delete ${this.name}?`, what, 'Delete', true)) return;
    const undo = await remember([this.name]);
    if (!await attempt(() => api.deleteJob(this.name))) return;
    deleted([this.name], undo);
    location.hash = '#jobs';
  }

  update(names) {
    if (names !== null && names.size === 0) return;
    const row = this.row;
    if (!row && !this.gone) {
      this.gone = true;
      this.leave();
      replace(this.main, empty(`“${this.name}” has been deleted.`, link('All jobs', '#jobs')));
    }
    if (this.gone) {
      if (row) redraw();
      return;
    }
    const near = names === null || names.has(this.name);
    if (near) {
      const open = this.head.querySelector('details[open]') !== null;
      if (!open) this.show(); else { this.showFacts(); this.showFamily(); }
      this.refreshRuns();
      if (Date.now() - (this.counted ?? 0) > 30e3) { this.counted = Date.now(); this.showDays(); }
      if (this.seen !== defining(row)) this.refreshDocument();
      this.seen = defining(row);
    } else if (row.parents?.some(p => names.has(p)) || [...store.children.get(this.name) ?? []].some(c => names.has(c))) this.showFamily();
  }

  leave() {
    this.cancel.abort();
    this.resize.disconnect();
    this.view?.close();
  }
}

// manners lists how a job runs, from its document.
function manners(doc, fact) {
  const set = (key, label, text) => doc[key] !== undefined && fact(label, text ?? String(doc[key]));
  return [
    set('epsilon', 'May start late', `by ${spoken(doc.epsilon)} (epsilon)`),
    fact('Retries', doc.retries ? `${times(doc.retries)} after a failure` : 'none'),
    fact('Needs', `${doc.cpus} CPUs, ${doc.mem} MB memory, ${doc.disk} MB disk`),
    doc.maxCompletionTime > 0 && fact('Time limit', duration(doc.maxCompletionTime * 1000)),
    doc.arguments?.length > 0 && fact('Arguments', h('code', { class: 'wrap' }, doc.arguments.join(' ')), doc.arguments.some(a => String(a).includes(';')) && h('div', { class: 'dim' }, semicolons)),
    doc.async && fact('Asynchronous', 'A run ends with a call of its own:', h('pre', { class: 'snippet', tabindex: 0, 'aria-label': 'How a run reports its end' }, callback)),
    policies.filter(([key]) => doc[key] !== undefined).map(([key, label]) => fact(label, key === 'labels' ? labelled(doc[key]) : said(doc[key]))),
  ];
}

const times = n => !n ? 'never' : n === 1 ? 'once' : `${count(n)} times`;

// spoken says a period of hours, minutes and seconds as people do; another one stays as it is.
function spoken(period) {
  const [, h, m, s] = /^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?$/.exec(period) ?? [];
  return duration(((h ?? 0) * 3600 + (m ?? 0) * 60 + Number(s ?? 0)) * 1000 || undefined).replace('–', period);
}

// What a run of an asynchronous job calls at its end.
const callback = `curl -X PUT -H 'Content-Type: application/json' \\
  -d '{"statusCode":0}' \\
  ${new URL('scheduler/task/', new URL('.', location.href))}"$mesos_task_id"`;

// labelled links each label to the jobs that have it.
const labelled = labels => Object.entries(labels).map(([k, v], i) => [i > 0 && ', ', link(`${k}=${v}`, '#jobs?q=' + encodeURIComponent(`${k}=${v}`))]);

// said shows a value of a document in a line.
const said = value => typeof value !== 'object' ? String(value) : Array.isArray(value) ? value.map(v => typeof v === 'object' ? [v.to, v.on?.join(', ')].filter(Boolean).join(' on ') : v).join('; ')
  : Object.entries(value).map(([k, v]) => `${k}=${v}`).join(', ');

// defining is the part of a row that shows whether the job's document or its next runs have changed.
const defining = row => JSON.stringify({ ...row, runs: 0, state: 0, status: 0, running: 0 });

function logLink(page, run, file) {
  return h('a', { href: `${hashOf(page.name)}?run=${encodeURIComponent(run.id)}&file=${file}`, click: event => { event.preventDefault(); page.openLog(run.id, file); } }, file);
}

function whenAgo(text) {
  const ms = Date.parse(text);
  return isNaN(ms) ? text : h('time', { datetime: text, title: instant(ms) }, ago(ms));
}
