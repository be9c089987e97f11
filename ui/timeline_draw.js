import { coloursOf, whenRecoloured } from './colours.js';
import { h, hashOf, link, replace } from './dom.js';
import { duration, now, runStates, short, viewerZone } from './format.js';

const laneHeight = 24;            // px
const headHeight = 96;            // px
const minute = 60e3;
const steps = [1, 2, 5, 10, 30, 60, 180, 360, 720, 1440].map(n => n * minute); // between the ticks of the axis

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });

// A TimeDrawing draws lanes of runs under an axis with the load.
export class TimeDrawing {
  constructor(page) {
    this.page = page;
    this.lanes = [];
    this.doc = { load: [], due: [], from: 0, bucketMs: 1 };
    this.head = h('canvas', { role: 'img', 'aria-label': 'How many runs were under way, and how many are due' });
    this.body = h('canvas', { tabindex: 0, role: 'application', 'aria-label': 'Runs in time. The arrow keys move, plus and minus zoom, 0 goes back to now. The list of runs has the same as a table.' });
    this.names = h('nav', { class: 'time-names', 'aria-label': 'Jobs' });
    this.rest = h('div', { class: 'time-names' }, h('small', {}, viewerZone));
    this.headBox = h('div', { class: 'time-draw' }, this.head);
    this.bodyBox = h('div', { class: 'time-draw' }, this.body);
    this.element = h('div', { class: 'time-box' }, h('div', { class: 'time-top' }, this.rest, this.headBox), h('div', { class: 'time-lanes' }, this.names, this.bodyBox));
    this.listen();
  }

  attach() {
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(this.element);
    this.ignore = whenRecoloured(() => { this.colours = null; this.later(); });
    this.clock = setInterval(() => this.later(), 5000);
  }

  detach() {
    this.observer.disconnect();
    this.ignore();
    clearInterval(this.clock);
    cancelAnimationFrame(this.frame);
  }

  show(lanes, doc) {
    this.lanes = lanes;
    this.doc = doc;
    replace(this.names, lanes.map(lane => link(lane.name, hashOf(lane.name), { title: lane.name })));
    this.later();
  }

  later() { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }

  x(ms) { return (ms - this.page.from) / this.page.span * this.width; }

  // prepare sizes a canvas, and returns what draws on it.
  prepare(canvas, width, height) {
    const ratio = devicePixelRatio || 1;
    canvas.style.height = height + 'px';
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    return g;
  }

  draw() {
    this.width = this.bodyBox.clientWidth;
    if (!this.width) return;
    this.colours ??= coloursOf(this.element);
    const height = Math.max(1, Math.min(this.lanes.length, 1000) * laneHeight);
    const g = this.prepare(this.body, this.width, height), top = this.prepare(this.head, this.width, headHeight);
    this.drawAxis(top, g, height);
    this.drawLoad(top);
    this.marks = [];
    this.lanes.forEach((lane, i) => this.drawLane(g, lane, i));
    for (const [c, tall] of [[g, height], [top, headHeight]]) this.drawNow(c, tall);
    Object.assign(this.body.dataset, { marks: this.marks.length, lanes: this.lanes.length });
  }

  drawAxis(top, g, height) {
    const { from, to, span } = this.page, step = steps.find(s => s / span * this.width >= 64) ?? steps.at(-1), p = this.colours;
    const zero = new Date(from);
    zero.setHours(0, 0, 0, 0);
    top.font = `11px ${p.font}`;
    top.textBaseline = 'top';
    for (let ms = zero.getTime() + Math.floor((from - zero) / step) * step; ms < to; ms += step) {
      const x = Math.round(this.x(ms)) + 0.5, midnight = new Date(ms).getHours() === 0 && new Date(ms).getMinutes() === 0;
      for (const [c, y, tall] of [[top, 18, headHeight], [g, 0, height]]) {
        c.strokeStyle = p.line;
        c.globalAlpha = midnight ? 1 : 0.45;
        c.beginPath();
        c.moveTo(x, y);
        c.lineTo(x, tall);
        c.stroke();
      }
      top.globalAlpha = 1;
      top.fillStyle = midnight ? p.text : p.dim;
      top.fillText(midnight ? day.format(ms) : clock.format(ms), x + 3, 3);
    }
    g.globalAlpha = 1;
  }

  // drawLoad draws how many runs were under way, and how many are due.
  drawLoad(g) {
    const { load, due, from, bucketMs } = this.doc, p = this.colours, most = Math.max(1, ...load, ...due), base = headHeight - 2, scale = (headHeight - 34) / most;
    load.forEach((n, i) => {
      const x = this.x(from + i * bucketMs), w = Math.max(1, this.x(from + (i + 1) * bucketMs) - x - 0.5);
      g.globalAlpha = 0.75;
      g.fillStyle = p.running;
      if (n) g.fillRect(x, base - n * scale, w, n * scale);
      g.fillStyle = p.accent;
      if (due[i]) g.fillRect(x, base - due[i] * scale, w, due[i] * scale);
    });
    g.globalAlpha = 1;
    g.fillStyle = p.dim;
    g.fillText(`peak: ${most} in ${duration(bucketMs)}`, 4, 20);
  }

  drawNow(g, height) {
    const x = this.x(now());
    if (x < 0 || x > this.width) return;
    g.strokeStyle = this.colours.failure;
    g.setLineDash([4, 3]);
    g.beginPath();
    g.moveTo(x, 0);
    g.lineTo(x, height);
    g.stroke();
    g.setLineDash([]);
  }

  drawLane(g, lane, i) {
    const y = i * laneHeight, p = this.colours;
    g.globalAlpha = 0.4;
    g.fillStyle = p.line;
    g.fillRect(0, y + laneHeight - 1, this.width, 1);
    g.globalAlpha = 1;
    g.fillStyle = p.accent;
    for (const next of lane.due) {
      const x = this.x(next);
      if (x < -2 || x > this.width + 2) continue;
      g.fillRect(x - 1, y + 5, 2, laneHeight - 11);
      this.marks.push({ x0: x - 4, x1: x + 4, i, lane, mark: { next } });
    }
    if (lane.on) { // and so on
      const x = this.x(lane.due.at(-1)) + 4;
      g.globalAlpha = 0.35;
      g.fillRect(x, y + 9, Math.max(0, this.width - x), laneHeight - 19);
      g.globalAlpha = 1;
    }
    const ends = [0, 0]; // where the runs of each half of the lane end; two that overlap take a half each
    for (const run of [...lane.runs].reverse()) this.drawRun(g, lane, i, run, ends);
  }

  drawRun(g, lane, i, run, ends) {
    const y = i * laneHeight, p = this.colours, state = runStates[run.state];
    const colour = { finished: p.success, failed: p.failure, lost: p.failure, killed: p.queued, active: p.running, launching: p.running, awaiting: p.running, queued: p.queued }[state] ?? p.fresh;
    const due = this.x(run.due), start = this.x(run.started || run.due), end = this.x(run.started ? run.ended || now() : run.due);
    if (Math.max(due, end) < 0 || Math.min(due, start) > this.width) return;
    g.strokeStyle = g.fillStyle = colour;
    if (!run.started) {
      g.lineWidth = 1.5;
      g.beginPath();
      g.arc(due, y + laneHeight / 2, 4, 0, 7);
      if (state === 'missed' || state === 'skipped') g.setLineDash([2, 2]);
      if (state === 'queued' || state === 'missed' || state === 'skipped') g.stroke(); else g.fill();
      g.setLineDash([]);
      g.lineWidth = 1;
      this.marks.push({ x0: due - 6, x1: due + 6, i, lane, mark: run });
      return;
    }
    const half = start < ends[0] ? 1 : 0, both = start >= ends[0] && start >= ends[1];
    ends[half] = end;
    const top = y + (half ? laneHeight / 2 : 4), tall = both ? laneHeight - 9 : laneHeight / 2 - 4;
    if (start - due > 2) { g.fillStyle = p.queued; g.fillRect(due, y + laneHeight / 2 - 1, start - due, 2); g.fillStyle = colour; }
    const wide = Math.max(3, end - start);
    g.fillRect(start, top, wide, tall);
    if (wide > 9 && tall > 9) this.drawSign(g, { failed: '×', lost: '×', killed: '–' }[state], start + Math.min(wide, 40) / 2, top + tall / 2);
    this.marks.push({ x0: Math.min(due, start) - 2, x1: Math.max(end, start + 3) + 2, i, lane, mark: run });
  }

  // drawSign tells a bad end from a good one for those who do not see the colours.
  drawSign(g, sign, x, y) {
    if (!sign) return;
    g.save();
    g.fillStyle = this.colours.panel;
    g.font = '700 12px sans-serif';
    g.textAlign = 'center';
    g.textBaseline = 'middle';
    g.fillText(sign, x, y);
    g.restore();
  }

  hit(event) {
    const box = this.body.getBoundingClientRect(), x = event.clientX - box.left, i = Math.floor((event.clientY - box.top) / laneHeight);
    return this.marks?.findLast(m => m.i === i && m.x0 <= x && x <= m.x1);
  }

  listen() {
    for (const canvas of [this.head, this.body]) {
      let last = null, travelled = 0;
      canvas.addEventListener('pointerdown', e => { last = e.clientX; travelled = 0; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener('pointermove', e => {
        if (last === null) { this.hover(canvas, e); return; }
        const by = e.clientX - last;
        last = e.clientX;
        travelled += Math.abs(by);
        if (by) this.page.show((this.page.middle || now()) - by / this.width * this.page.span, this.page.span);
      });
      canvas.addEventListener('pointerup', e => {
        last = null;
        const found = travelled < 5 && canvas === this.body && this.hit(e);
        if (found) location.hash = hashOf(found.lane.name) + (found.mark.id && found.mark.started ? `?run=${encodeURIComponent(found.mark.id)}` : '');
      });
      canvas.addEventListener('pointercancel', () => { last = null; });
      canvas.addEventListener('pointerleave', () => this.page.tell(''));
      canvas.addEventListener('wheel', e => {
        if (!e.ctrlKey && !e.shiftKey && canvas === this.body && Math.abs(e.deltaX) <= Math.abs(e.deltaY)) return; // the page scrolls
        e.preventDefault();
        const box = canvas.getBoundingClientRect();
        if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) this.page.show((this.page.middle || now()) + (e.deltaX || e.deltaY) / this.width * this.page.span, this.page.span);
        else this.page.zoom(Math.exp(e.deltaY * 0.003), (e.clientX - box.left) / box.width);
      }, { passive: false });
    }
  }

  hover(canvas, event) {
    if (canvas === this.body) {
      const found = this.hit(event);
      canvas.style.cursor = found ? 'pointer' : '';
      this.page.tell(found ? this.page.describe(found.lane, found.mark) : '');
      return;
    }
    const box = canvas.getBoundingClientRect(), { load, due, from, bucketMs } = this.doc;
    const i = Math.floor((this.page.from + (event.clientX - box.left) / box.width * this.page.span - from) / bucketMs);
    if (load[i] === undefined) return;
    this.page.tell(`${short(from + i * bucketMs)} to ${short(from + (i + 1) * bucketMs)}: ${load[i]} under way, ${due[i]} due`);
  }
}
