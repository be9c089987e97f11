import * as api from './api.js';
import { empty, h, link, replace } from './dom.js';
import { ago, badge, elapsed, plural, time } from './format.js';
import { store } from './live.js';

const hashOf = name => '#jobs/' + encodeURIComponent(name);
const pace = 5000;   // ms between two looks
const asked = 30;    // jobs of which it is asked why they wait

export default function cluster(main) {
  const page = new Cluster(main);
  page.look();
  return page;
}

// Cluster shows how the parts of this installation are doing, what runs where, and what waits for what.
class Cluster {
  constructor(main) {
    this.cancel = new AbortController();
    const panel = (title, body, more) => h('section', { class: 'panel' }, h('div', { class: 'panel-head' }, h('h2', {}, title), more), body);
    for (const part of ['health', 'instances', 'notices', 'agents', 'queue', 'pools']) this[part] = h('div', {}, h('p', { class: 'dim pad' }, 'Asking …'));
    replace(main, h('h1', { class: 'cluster-title' }, 'Cluster'), h('div', { class: 'columns' },
      h('div', {}, panel('This instance', this.health), panel('Instances', this.instances), panel('Notification channels', this.notices)),
      h('div', {}, panel('Where runs are', this.agents, link('all', '#runs?state=active%2Claunching%2Cawaiting', { 'aria-label': 'all running runs' })), panel('Why runs wait', this.queue, link('all', '#runs?state=queued', { 'aria-label': 'all waiting runs' })), panel('Pools', this.pools))));
  }

  async look() {
    const options = { signal: this.cancel.signal };
    const part = async (box, read, show) => {
      try { show(await read()); } catch (err) {
        if (err.name !== 'AbortError') replace(box, h('p', { class: 'dim pad' }, err.status === 403 ? 'This is about all jobs, of which you may see some.' : err.message));
      }
    };
    this.showInstances();
    await Promise.all([
      part(this.health, () => api.health(options), doc => { this.showHealth(doc); this.showNotices(doc.notifications ?? []); }),
      part(this.agents, () => api.allRuns({ state: 'active,launching,awaiting', limit: 500 }, options), doc => this.showAgents(doc)),
      part(this.queue, () => this.readQueue(options), list => this.showQueue(list)),
      part(this.pools, () => api.pools(options), doc => this.showPools(doc.pools)),
    ]);
    if (!this.cancel.signal.aborted) this.timer = setTimeout(() => document.hidden ? this.later() : this.look(), pace);
  }

  later() { this.timer = setTimeout(() => document.hidden ? this.later() : this.look(), pace); }

  showInstances() {
    const { members = [], leader, instance } = store.info;
    const all = members.length ? members : [instance];
    replace(this.instances, h('ul', { class: 'lines' }, all.map(id => h('li', {}, h('code', {}, id), h('span', { class: 'end' }, id === leader ? badge('success', 'leads') : badge('fresh', 'stands by'), id === instance && badge('running', 'answers'))))));
  }

  showHealth(doc) {
    const fact = (term, ...value) => [h('dt', {}, term), h('dd', {}, value)];
    const kind = { ok: 'success', degraded: 'queued', failing: 'failure' }[doc.status] ?? 'queued';
    replace(this.health, h('dl', { class: 'facts' }, fact('Health', badge(kind, doc.status)), [...doc.problems ?? [], ...doc.warnings ?? []].map(text => fact('', text)),
      fact('Instance', h('code', {}, doc.instance), ` ${doc.role}`), doc.scheduler && fact('Scheduler', plural(doc.scheduler.jobs, 'job'), `, term ${doc.scheduler.term}`),
      doc.scheduler && fact('Cluster', doc.scheduler.subscribed ? badge('success', 'connected') : badge('failure', 'not connected'), doc.lastEvent && [' last heard of ', ago(Date.parse(doc.lastEvent))]),
      doc.zookeeper && fact('ZooKeeper', doc.zookeeper.connected ? badge('success', 'connected') : badge('failure', 'not connected')),
      doc.scheduler?.clock && fact('Clock', `${plural(doc.scheduler.clock.steps, 'step')} in this term`), fact('Version', doc.version)));
  }

  showNotices(list) {
    replace(this.notices, list.length === 0 ? h('p', { class: 'dim pad' }, 'Nobody is told of failures: no channel is configured.')
      : h('ul', { class: 'lines' }, list.map(n => h('li', { class: 'block' }, Object.entries(n).map(([key, value]) => h('span', { class: 'pairs' }, h('span', { class: 'dim' }, key), ' ', String(value), ' '))))));
  }

  showAgents({ runs, next }) {
    const agents = new Map();
    for (const r of runs) {
      const name = r.agent || r.agentId || 'not placed yet';
      agents.set(name, [...agents.get(name) ?? [], r]);
    }
    replace(this.agents, runs.length === 0 ? empty('Nothing is running at the moment.') : h('ul', { class: 'lines' }, [...agents].sort(([, a], [, b]) => b.length - a.length).map(([name, list]) => h('li', { class: 'block' },
      h('div', {}, h('strong', {}, name), ' ', h('span', { class: 'dim' }, plural(list.length, 'run'))),
      h('ul', {}, list.slice(0, 8).map(r => h('li', {}, link(r.job, `${hashOf(r.job)}?run=${encodeURIComponent(r.id)}`, { class: 'underlined' }), ' ', r.started && h('span', { class: 'dim' }, elapsed(Date.parse(r.started))))), list.length > 8 && h('li', { class: 'dim' }, `and ${list.length - 8} more`))))), next && h('p', { class: 'dim pad' }, 'The newest 500 runs.'));
  }

  async readQueue(options) {
    const names = [...store.jobs.values()].filter(row => row.runs?.some(([letter]) => letter === 'q')).map(row => row.name);
    const answers = await Promise.all(names.slice(0, asked).map(name => api.queued(name, options).catch(() => ({ job: name, queued: [] }))));
    return { more: names.length - asked, list: answers.flatMap(a => a.queued.map(q => ({ ...q, job: a.job }))).sort((a, b) => a.position - b.position) };
  }

  showQueue({ list, more }) {
    replace(this.queue, list.length === 0 ? empty('Nothing waits.') : h('ul', { class: 'lines' }, list.map(({ job, position, reasons, run }) => h('li', { class: 'block' },
      h('div', {}, position >= 0 && h('span', { class: 'dim' }, `${position + 1}. `), link(job, hashOf(job), { class: 'underlined' }), ' since ', time(Date.parse(run.queued ?? run.due))), h('ul', {}, reasons.map(text => h('li', {}, text)))))), more > 0 && h('p', { class: 'dim pad' }, `and ${plural(more, 'job')} more`));
  }

  showPools(list) {
    replace(this.pools, list.length === 0 ? h('p', { class: 'dim pad' }, 'There are no pools.') : h('table', {}, h('thead', {}, h('tr', {}, ['Pool', 'Slots', 'Used', 'Waiting', 'Jobs'].map(t => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, list.map(p => h('tr', {}, h('td', {}, p.name), h('td', {}, `${p.slots} `, h('progress', { max: Math.max(1, p.slots), value: p.used, 'aria-label': `Used slots of ${p.name}` })), [p.used, p.waiting, p.jobs].map(n => h('td', {}, String(n))))))));
  }

  leave() {
    this.cancel.abort();
    clearTimeout(this.timer);
  }
}
