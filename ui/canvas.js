import { coloursOf, whenRecoloured } from './colours.js';
import { h } from './dom.js';
import { size } from './layout.js';

const least = 0.1, most = 3;     // scales
const smallest = 11;             // px of a name on the screen
const narrowest = 70;            // px of a node that shows its name

// A Canvas draws a graph that was laid out, and lets people move in it. look(name) says how a node is drawn, runOn(name) which end of its parents it waits for, select and open are called
// for the node that was pointed at, moved when something else is in sight.
export class Canvas {
  constructor({ look, runOn, select, open, moved }) {
    Object.assign(this, { look, runOn, select, open, moved });
    this.view = { x: 0, y: 0, k: 1 };
    this.selected = '';
    this.element = h('canvas', { class: 'graph', tabindex: 0, role: 'application', 'aria-label': 'Dependency graph. Arrow keys go to parents, children and siblings, with Shift they move the picture. Enter opens the job, plus and minus zoom, 0 shows all.' });
    this.listen();
  }

  attach(stage) {
    this.stage = stage;
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(stage);
    this.ignore = whenRecoloured(() => { this.colours = null; this.later(); });
  }

  detach() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.ignore();
  }

  show(graph) {
    this.graph = graph;
    this.cells = null;
  }

  resized() {
    const { clientWidth: w, clientHeight: ht } = this.stage, c = this.element;
    if (!w || !ht) return;
    const ratio = devicePixelRatio || 1, first = !this.w;
    if (c.width !== Math.round(w * ratio) || c.height !== Math.round(ht * ratio)) {
      c.width = Math.round(w * ratio);
      c.height = Math.round(ht * ratio);
    }
    this.w = w;
    this.h = ht;
    if (first && this.wanted) this.fit(this.wanted);
    this.later();
  }

  // fit shows the width, or as much of it from the left as the smallest scale allows; and the height too, unless that is too small.
  fit(smallestScale) {
    this.wanted = smallestScale;
    if (!this.w || !this.graph.nodes.size) return;
    const { width, height } = this.graph;
    const k = Math.min(1.1, Math.max(smallestScale, Math.min((this.w - 40) / (width || 1), (this.h - 40) / (height || 1))));
    this.view = { k, x: Math.max(20, (this.w - width * k) / 2), y: Math.max(20, (this.h - height * k) / 2) };
    this.later();
  }

  // reveal has a node in sight, in the middle if it was not.
  reveal(name) {
    const n = this.graph.nodes.get(name);
    if (!n || !this.w) return;
    const k = Math.max(this.view.k, 0.85), v = this.view, x = v.x + n.x * v.k, y = v.y + n.y * v.k;
    if (k === v.k && x > 0 && y > 0 && x + size.w * k < this.w && y + size.h * k < this.h) return;
    this.view = { k, x: this.w / 2 - (n.x + size.w / 2) * k, y: this.h / 2 - (n.y + size.h / 2) * k };
    this.change();
  }

  zoom(factor, x = this.w / 2, y = this.h / 2) {
    const v = this.view, k = Math.min(most, Math.max(Math.min(least, v.k), v.k * factor));
    this.view = { k, x: x - (x - v.x) * k / v.k, y: y - (y - v.y) * k / v.k };
    this.change();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.change();
  }

  change() {
    this.later();
    this.moved();
  }

  listen() {
    const c = this.element, fingers = new Map();
    let travelled = 0, spread = 0;
    const point = e => { const r = c.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    c.addEventListener('wheel', e => {
      e.preventDefault();
      if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) this.pan(-(e.deltaX || e.deltaY), e.shiftKey ? 0 : -e.deltaY);
      else this.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), ...point(e));
    }, { passive: false });
    c.addEventListener('pointerdown', e => { c.setPointerCapture(e.pointerId); fingers.set(e.pointerId, point(e)); travelled = 0; spread = 0; });
    c.addEventListener('pointermove', e => {
      if (!fingers.has(e.pointerId)) { this.hover(this.hit(...point(e))); return; }
      const [x, y] = point(e), [px, py] = fingers.get(e.pointerId);
      fingers.set(e.pointerId, [x, y]);
      travelled += Math.abs(x - px) + Math.abs(y - py);
      if (fingers.size === 1) { this.pan(x - px, y - py); return; }
      const [a, b] = [...fingers.values()], now = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (spread) this.zoom(now / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      spread = now;
    });
    const up = e => {
      if (!fingers.delete(e.pointerId) || e.type === 'pointercancel') return;
      spread = 0;
      if (travelled <= 6 && !fingers.size) this.select(this.hit(...point(e))?.name ?? '');
    };
    c.addEventListener('pointerup', up);
    c.addEventListener('pointercancel', up);
    c.addEventListener('dblclick', e => { const n = this.hit(...point(e)); if (n) this.open(n.name); });
  }

  hover(n) {
    this.element.style.cursor = n ? 'pointer' : '';
    const look = n && this.look(n.name);
    this.element.title = look ? `${look.name}\n${look.text}` : '';
  }

  // key acts on a key that was pressed; neighbour returns the node that an arrow leads to.
  key(event, neighbour) {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (event.key === '+' || event.key === '=') this.zoom(1.3);
    else if (event.key === '-') this.zoom(1 / 1.3);
    else if (event.key === '0') this.fit(0.02);
    else if (event.key === 'Enter' && this.selected) this.open(this.selected);
    else if (event.key === 'Escape') this.select('');
    else if (step && event.shiftKey) this.pan(...step);
    else if (step) { const n = neighbour(event.key); if (n) this.select(n, true); } else return false;
    return true;
  }

  // grid finds nodes by position, so that those out of sight cost nothing.
  grid() {
    if (this.cells) return this.cells;
    this.cells = new Map();
    for (const n of this.graph.nodes.values()) {
      const key = `${Math.floor(n.x / 1000)},${Math.floor(n.y / 1000)}`;
      if (!this.cells.has(key)) this.cells.set(key, []);
      this.cells.get(key).push(n);
    }
    return this.cells;
  }

  *within(x0, y0, x1, y1) {
    for (let i = Math.floor((x0 - size.w) / 1000); i <= Math.floor(x1 / 1000); i++) {
      for (let j = Math.floor((y0 - size.h) / 1000); j <= Math.floor(y1 / 1000); j++) yield* this.grid().get(`${i},${j}`) ?? [];
    }
  }

  hit(px, py) {
    const v = this.view, x = (px - v.x) / v.k, y = (py - v.y) / v.k;
    for (const n of this.within(x, y, x, y)) if (x >= n.x && x <= n.x + size.w && y >= n.y && y <= n.y + size.h) return n;
    return null;
  }

  later() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  palette() {
    return this.colours ??= coloursOf(this.stage);
  }

  draw() {
    if (!this.w || !this.graph) return;
    const g = this.element.getContext('2d'), v = this.view, p = this.palette(), ratio = devicePixelRatio || 1;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, this.w, this.h);
    g.translate(v.x, v.y);
    g.scale(v.k, v.k);
    const x0 = -v.x / v.k, y0 = -v.y / v.k, x1 = x0 + this.w / v.k, y1 = y0 + this.h / v.k;
    this.drawEdges(g, p, x0, y0, x1, y1);
    g.textBaseline = 'middle';
    this.named = 0;
    for (const n of this.within(x0, y0, x1, y1)) this.drawNode(g, p, n);
    Object.assign(this.element.dataset, { scale: v.k.toFixed(3), named: this.named });
  }

  drawEdges(g, p, x0, y0, x1, y1) {
    const near = [], others = { failure: [], end: [] };
    g.lineWidth = Math.max(1.2, 0.7 / this.view.k);
    g.strokeStyle = p.line;
    g.beginPath();
    for (const [a, b] of this.graph.edges) {
      if (Math.max(a.x, b.x) + size.w < x0 || Math.min(a.x, b.x) > x1 || Math.max(a.y, b.y) + size.h < y0 || Math.min(a.y, b.y) > y1) continue;
      const other = others[this.runOn(b.name)];
      if (other) other.push([a, b]); else if (a.name === this.selected || b.name === this.selected) near.push([a, b]); else edge(g, a, b);
    }
    g.stroke();
    g.strokeStyle = p.accent;
    g.lineWidth *= 1.8;
    g.beginPath();
    for (const [a, b] of near) edge(g, a, b);
    g.stroke();
    this.drawOthers(g, p, others);
  }

  // drawOthers marks the edges to jobs that do not wait for a success.
  drawOthers(g, p, others) {
    const px = Math.max(11, 10 / this.view.k);
    g.setLineDash([7, 5]);
    for (const [on, edges] of Object.entries(others)) {
      g.strokeStyle = g.fillStyle = on === 'failure' ? p.failure : p.dim;
      g.beginPath();
      for (const [a, b] of edges) edge(g, a, b);
      g.stroke();
      g.font = `${px}px ${p.font}`;
      g.textAlign = 'right';
      if (size.w * this.view.k >= narrowest) for (const [, b] of edges) g.fillText(`on ${on}`, b.x - 6, b.y + size.h / 2 - px * 0.6);
      g.textAlign = 'left';
    }
    g.setLineDash([]);
    this.element.dataset.others = Object.values(others).flat().length;
  }

  drawNode(g, p, n) {
    const look = this.look(n.name);
    if (!look) return;
    const { k } = this.view, here = n.name === this.selected;
    g.globalAlpha = look.off ? 0.55 : 1;
    g.fillStyle = k < 0.25 ? p[look.kind] : p.panel;
    g.strokeStyle = here ? p.accent : p.line;
    g.lineWidth = here ? 2.5 : 1;
    if (look.many) { box(g, n.x + 4, n.y + 4); box(g, n.x, n.y); } else box(g, n.x, n.y);
    g.fillStyle = p[look.kind];
    g.beginPath();
    g.roundRect(n.x, n.y, 8, size.h, [8, 0, 0, 8]);
    g.fill();
    if (size.w * k >= narrowest) this.drawName(g, p, n, look);
    g.globalAlpha = 1;
  }

  // drawName writes at least as large as can be read, so less of a name fits in when the picture is small.
  drawName(g, p, n, look) {
    const { k } = this.view, px = Math.max(13, smallest / k), both = k >= 0.75;
    this.named++;
    g.fillStyle = p.text;
    g.font = `500 ${px}px ${p.font}`;
    g.fillText(clip(g, look.name, size.w - 26, px), n.x + 16, n.y + size.h / 2 - (both ? 7 : 0));
    if (!both) return;
    g.fillStyle = p.dim;
    g.font = `${Math.max(11, 10 / k)}px ${p.font}`;
    g.fillText(clip(g, look.text, size.w - 26, px + 100), n.x + 16, n.y + size.h / 2 + 9);
  }
}

function box(g, x, y) {
  g.beginPath();
  g.roundRect(x, y, size.w, size.h, 8);
  g.fill();
  g.stroke();
}

function edge(g, a, b) {
  const x = a.x + size.w, y = a.y + size.h / 2, tx = b.x, ty = b.y + size.h / 2, mid = size.dx * 0.6;
  g.moveTo(x, y);
  g.bezierCurveTo(x + mid, y, tx - mid, ty, tx, ty);
}

const clipped = new Map();

// clip leaves out the middle of a text that is too wide, since names often differ at the end. Measuring is slow, so results are cached.
function clip(g, text, width, px) {
  const key = px.toFixed(1) + text;
  let result = clipped.get(key);
  if (result !== undefined) return result;
  result = text;
  if (g.measureText(text).width > width) {
    let n = Math.max(2, Math.floor(text.length * width / g.measureText(text).width));
    const cut = () => text.slice(0, Math.ceil(n / 2)) + '…' + text.slice(text.length - Math.floor(n / 2));
    while (n > 2 && g.measureText(cut()).width > width) n--;
    result = cut();
  }
  if (clipped.size > 20000) clipped.clear();
  clipped.set(key, result);
  return result;
}
