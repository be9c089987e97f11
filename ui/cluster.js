import * as api from './api.js';
import { may } from './access.js';
import { Sender } from './actions.js';
import { button, dialog, empty, field, h, hashOf, link, replace } from './dom.js';
import { ago, badge, count, duration, elapsed, plural, time } from './format.js';
import { store } from './live.js';

const pace = 5000;   // ms between two looks
const asked = 30;    // jobs of which it is asked why they wait
const receivers = 'receivers'; // the channel to those whom jobs name themselves
const channels = { mail: 'Mail', slack: 'Slack', mattermost: 'Mattermost', http: 'HTTP hook', sentry: 'Sentry', [receivers]: 'Receivers that jobs name' };

// kindOf is how the health of an instance is coloured.
const kindOf = doc => ({ ok: 'success', degraded: 'queued', failing: 'failure' })[doc.status] ?? 'queued';

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
    this.tests = new Map(); // how tests of channels went, by channel
    for (const part of ['health', 'leader', 'instances', 'notices', 'agents', 'queue', 'pools']) this[part] = h('div', {}, h('p', { class: 'dim pad' }, 'Asking …'));
    replace(main, h('h1', { class: 'cluster-title' }, 'Cluster'), h('div', { class: 'columns' },
      h('div', {}, panel('This instance', this.health), this.leaderPanel = panel('Leader', this.leader), panel('Instances', this.instances), panel('Notification channels', this.notices)),
      h('div', {}, panel('Agents', this.agents, link('all', '#runs?state=active%2Claunching%2Cawaiting', { 'aria-label': 'all running runs' })), panel('Why runs wait', this.queue, link('all', '#runs?state=queued', { 'aria-label': 'all waiting runs' })), panel('Pools', this.pools))));
  }

  async look() {
    const options = { signal: this.cancel.signal };
    const part = async (box, read, show) => {
      try { show(await read()); } catch (err) {
        if (err.name !== 'AbortError') replace(box, h('p', { class: 'dim pad' }, err.status === 403 ? 'This is about all jobs, of which you may see some.' : err.message));
      }
    };
    await Promise.all([
      part(this.instances, () => api.instances(options), doc => this.showInstances(doc)),
      part(this.health, () => api.health(options), doc => this.showHealth(this.health, doc)),
      part(this.leader, () => api.leaderHealth(options), doc => {
        this.leaderPanel.hidden = doc.instance === store.info.instance;
        this.showHealth(this.leader, doc);
      }),
      part(this.notices, () => api.notices(options), doc => { this.channels = doc.channels; this.showNotices(); }),
      part(this.agents, () => api.agents(options), doc => this.showAgents(doc)),
      part(this.queue, () => this.readQueue(options), list => this.showQueue(list)),
      part(this.pools, () => api.pools(options), doc => this.showPools(doc.pools)),
    ]);
    if (!this.cancel.signal.aborted) this.timer = setTimeout(() => document.hidden ? this.later() : this.look(), pace);
  }

  later() { this.timer = setTimeout(() => document.hidden ? this.later() : this.look(), pace); }

  // showInstances lists the instances with how each is doing, as the leader has heard from them.
  showInstances({ instances, more }) {
    replace(this.instances, h('ul', { class: 'lines' }, instances.map(({ instance: id, leads, health, error }) => h('li', { class: 'block' }, h('div', { class: 'channel' }, h('code', {}, id),
      h('span', { class: 'end' }, leads ? badge('success', 'leads') : badge('fresh', 'stands by'), id === store.info.instance && badge('running', 'answers'), health ? badge(kindOf(health), health.status) : badge('queued', 'not known'))),
    [error, ...!health || leads || id === store.info.instance ? [] : [...health.problems ?? [], ...health.warnings ?? []]].filter(Boolean).map(text => h('div', { class: 'dim' }, text)),
    health && health.version !== store.info.version && h('div', { class: 'dim' }, 'Version ', health.version)))), more > 0 && h('p', { class: 'dim pad' }, `and ${count(more)} more`));
  }

  showHealth(box, doc) {
    const fact = (term, ...value) => [h('dt', {}, term), h('dd', {}, value)];
    replace(box, h('dl', { class: 'facts' }, fact('Health', badge(kindOf(doc), doc.status)), [...doc.problems ?? [], ...doc.warnings ?? []].map(text => fact('', text)),
      fact('Instance', h('code', {}, doc.instance), ` ${doc.role}`), doc.scheduler && fact('Scheduler', plural(doc.scheduler.jobs, 'job'), `, term ${doc.scheduler.term}`),
      doc.scheduler && fact('Cluster', doc.scheduler.subscribed ? badge('success', 'connected') : badge('failure', 'not connected'), doc.lastEvent && [' last heard of ', ago(Date.parse(doc.lastEvent))]),
      doc.mesos && fact('Mesos', doc.mesos.master || 'no master is known', doc.mesos.error && [h('br'), doc.mesos.error]),
      doc.kubernetes && fact('Kubernetes', doc.kubernetes.server, `, namespace ${doc.kubernetes.namespace}`, doc.kubernetes.error && [h('br'), doc.kubernetes.error]),
      doc.zookeeper && fact('ZooKeeper', doc.zookeeper.connected ? badge('success', 'connected') : badge('failure', 'not connected')),
      doc.scheduler?.clock && fact('Clock', `${plural(doc.scheduler.clock.steps, 'step')} in this term`), fact('Version', doc.version)));
  }

  // showNotices lists the channels. What nobody has configured can't be tested, but for receivers, which jobs name.
  showNotices() {
    const admin = may('admin'), list = [...this.channels];
    if (admin && !list.some(c => c.client === receivers)) list.push({ client: receivers });
    const shape = JSON.stringify([list, [...this.tests], admin]);
    if (shape === this.noticesShown) return;
    this.noticesShown = shape;
    const focused = this.notices.contains(document.activeElement) && document.activeElement.dataset.channel;
    replace(this.notices, this.channels.length === 0 && h('p', { class: 'dim pad' }, 'No channel is configured: only receivers that jobs name are told of failures.'), h('ul', { class: 'lines' }, list.map(c => h('li', { class: 'block' },
      h('div', { class: 'channel' }, h('strong', {}, channels[c.client] ?? c.client), c.failing !== undefined && badge(c.failing ? 'failure' : 'success', c.failing ? 'failing' : 'works'),
        c.sent !== undefined && h('span', { class: 'dim' }, `${count(c.sent)} sent`, c.queued > 0 && `, ${count(c.queued)} waiting`, c.failed > 0 && `, ${count(c.failed)} given up`, c.dropped > 0 && `, ${count(c.dropped)} dropped`),
        admin && h('span', { class: 'end' }, h('button', { type: 'button', class: 'button small', 'aria-label': `Test ${channels[c.client] ?? c.client}`, dataset: { channel: c.client }, 'aria-disabled': this.tests.get(c.client)?.running && 'true', click: () => this.test(c.client) }, 'Test'))),
      c.lastError && h('div', { class: 'dim' }, 'Last error', c.lastErrorTime && [' ', ago(Date.parse(c.lastErrorTime))], `: ${c.lastError}`),
      h('div', { role: 'status', class: this.tests.get(c.client)?.bad ? 'bad-text' : '' }, this.tests.get(c.client)?.text)))));
    if (focused) this.notices.querySelector(`[data-channel="${CSS.escape(focused)}"]`)?.focus();
  }

  async test(channel) {
    if (this.tests.get(channel)?.running) return;
    if (channel === 'mail' || channel === receivers) { await this.askTest(channel); return; }
    this.said(channel, { running: true, text: 'Sending …' });
    try { this.tested(channel, await api.testNotice(channel)); } catch (err) { this.said(channel, { bad: true, text: err.message }); }
  }

  // askTest asks to whom a test goes.
  askTest(channel) {
    return dialog(`Test ${channels[channel]}`, (done, el) => {
      const to = h('input', { type: 'text', required: true, autofocus: true, autocomplete: 'off', spellcheck: 'false', placeholder: channel === receivers ? 'mailto:you@example.com' : 'you@example.com' });
      const go = h('button', { type: 'submit', class: 'button primary' }, 'Send'), sender = new Sender(go);
      sender.within(el);
      return h('form', {
        submit: async event => {
          event.preventDefault();
          let answer;
          if (await sender.send(async options => { answer = await api.testNotice(channel, to.value.trim(), { signal: options.signal }); })) { done(true); this.tested(channel, answer); }
        },
      }, h('div', { class: 'dialog-body' }, field('To', to, channel === receivers ? 'As in a job’s notify: mailto: and an address, or an https address' : 'An address'), sender.note), h('div', { class: 'dialog-foot' }, button('Cancel', () => done()), go));
    });
  }

  tested(channel, answer) { this.said(channel, answer.delivered ? { text: `A test was delivered in ${duration(answer.tookMs)}.` } : { bad: true, text: `The test was not delivered: ${answer.error}` }); }

  said(channel, what) {
    this.tests.set(channel, what);
    this.showNotices();
  }

  showAgents({ agents, more, unplaced }) {
    replace(this.agents, agents.length === 0 ? empty(unplaced ? 'Nothing is placed yet.' : 'No agent has offered anything yet. Offers are asked for when a run needs them.') : h('ul', { class: 'lines' }, agents.map(a => h('li', { class: 'block' },
      h('div', { class: 'channel' }, h('strong', {}, a.host), h('span', { class: 'dim' }, plural(a.runs, 'run'), a.runs > 0 && ` using ${amounts(a.used)}`), a.away && badge('failure', 'not heard of'), a.silentSince && badge('queued', 'does not answer')),
      a.capacity ? h('div', {}, 'Allocatable: ', Object.entries(a.capacity).map(([kind, n]) => `${n} ${kind}`).join(', ')) : a.offered && h('div', {}, a.held ? 'Offers ' : 'Last offered ', amounts(a.offered), a.offeredAt && !a.held && [', ', ago(Date.parse(a.offeredAt))]),
      a.silentSince && h('div', { class: 'dim' }, 'A launch has not been answered since ', time(Date.parse(a.silentSince)), ': other agents are preferred.'),
      a.keptFor && h('div', { class: 'dim' }, `Kept for ${a.keptFor}`),
      a.attributes && h('details', {}, h('summary', {}, plural(Object.keys(a.attributes).length, 'attribute')), h('dl', { class: 'facts' }, Object.entries(a.attributes).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]))),
      a.newest && h('ul', {}, a.newest.map(r => h('li', {}, link(r.job, `${hashOf(r.job)}?run=${encodeURIComponent(r.run)}`, { class: 'underlined' }), ' ', r.started && h('span', { class: 'dim' }, elapsed(Date.parse(r.started))))), a.runs > a.newest.length && h('li', { class: 'dim' }, `and ${a.runs - a.newest.length} more`))))),
    unplaced > 0 && agents.length > 0 && h('p', { class: 'dim pad' }, `${plural(unplaced, 'run')} that the cluster has not placed yet.`), more && h('p', { class: 'dim pad' }, 'There are more agents.'));
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

const gigabytes = mb => mb >= 1024 ? `${(mb / 1024).toLocaleString(undefined, { maximumFractionDigits: 1 })} GB` : `${Math.round(mb)} MB`;

// amounts writes what a run takes or an agent has.
const amounts = ({ cpus, mem, disk }) => `${cpus.toLocaleString(undefined, { maximumFractionDigits: 2 })} CPUs, ${gigabytes(mem)} memory, ${gigabytes(disk)} disk`;
