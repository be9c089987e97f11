import { h, replace } from './dom.js';
import { duration, elapsed, now, openStates, short, viewerZone } from './format.js';

const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400, 172800, 604800, 2592000].map(s => s * 1000); // between the ticks of the axis

// A Gantt shows runs in time: a row for each job, in it a bar for each run. A thin line leads from when a run was queued to its start.
// Each bar is a link; address(run) is where to.
export class Gantt {
  constructor(address) {
    this.address = address;
    this.axis = h('div', { class: 'gantt-axis', 'aria-hidden': 'true' });
    this.rows = h('ol', { class: 'gantt-rows' });
    this.observer = new ResizeObserver(() => { if (this.shown && this.axis.clientWidth !== this.width) this.show(this.shown); });
    this.observer.observe(this.axis);
    this.element = h('div', { class: 'gantt' }, h('div', { class: 'gantt-head' }, h('small', { class: 'gantt-name dim' }, viewerZone), this.axis), this.rows);
  }

  // show draws the rows, each { name, runs }, in their order.
  show(rows) {
    this.shown = rows;
    this.width = this.axis.clientWidth;
    const all = rows.flatMap(row => row.runs), open = all.some(r => openStates.has(r.state)), at = now();
    const from = Math.min(...all.map(begin)), to = Math.max(from + 1000, ...all.map(r => end(r, at)));
    const share = ms => `${Math.max(0, Math.min(100, (ms - from) / (to - from) * 100))}%`;
    this.drawAxis(from, to, share);
    const focused = this.rows.contains(document.activeElement) && document.activeElement.dataset.run;
    replace(this.rows, rows.map(({ name, runs }) => h('li', { class: 'gantt-row' }, h('span', { class: 'gantt-name', title: name }, name),
      h('span', { class: 'gantt-track' }, runs.map(r => this.bar(r, at, share)), open && positioned(h('i', { class: 'gantt-now' }), share(at))))));
    if (focused) this.rows.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  }

  detach() { this.observer.disconnect(); }

  bar(r, at, share) {
    const start = r.started ? Date.parse(r.started) : end(r, at), text = describe(r, at);
    const wait = positioned(h('i', { class: 'gantt-wait' }), share(begin(r)), share(start));
    if (!r.started) return [wait, positioned(h('a', { class: `gantt-dot ${r.state}`, href: this.address(r), title: text, 'aria-label': text, dataset: { run: r.id } }), share(start))];
    return [wait, positioned(h('a', { class: `gantt-bar ${r.state}`, href: this.address(r), title: text, 'aria-label': text, dataset: { run: r.id } }), share(start), share(end(r, at)))];
  }

  drawAxis(from, to, share) {
    const step = steps.find(s => (to - from) / s <= Math.max(2, this.width / 110)) ?? steps.at(-1);
    const zero = new Date(from).setHours(0, 0, 0, 0), ticks = [];
    for (let ms = zero + Math.ceil((from - zero) / step) * step; ms < to - step / 3; ms += step) ticks.push(ms);
    replace(this.axis, ticks.map(ms => positioned(h('span', {}, short(ms)), share(ms))));
  }
}

const begin = r => Date.parse(r.queued ?? r.due);
const end = (r, at) => r.ended ? Date.parse(r.ended) : Math.max(at, begin(r));

function describe(r, at) {
  return `${r.job}: ${r.state}` + (r.attempt ? `, attempt ${r.attempt + 1}` : '') + (r.started ? `, started ${short(Date.parse(r.started))}, ${r.ended ? 'took' : 'for'} ${duration(end(r, at) - Date.parse(r.started))}` : `, queued ${short(begin(r))}`);
}

// positioned puts an element at a share of the width, and has it reach to another one.
function positioned(el, from, to) {
  el.style.left = from;
  if (to !== undefined) el.style.width = `calc(${to} - ${from})`;
  return el;
}

// took is how long a run has taken, as text that goes on while it runs.
export function took(r) {
  if (r.durationMs !== undefined) return duration(r.durationMs);
  return r.started && openStates.has(r.state) ? elapsed(Date.parse(r.started)) : '–';
}
