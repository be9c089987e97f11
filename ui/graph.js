import { may } from './access.js';
import { button, empty, h, link, newId, replace } from './dom.js';
import { plural, squares, stateBadges } from './format.js';
import { relatives, store } from './live.js';
import { layout, size } from './layout.js';
import { note } from './app.js';

export default function graph(main, parts) {
  const page = new GraphPage(main, parts[0] ? parts.join('/') : '');
  page.rebuild(true);
  return page;
}

class GraphPage {
  constructor(main, focus) {
    this.focus = focus;      // the job whose relatives are shown, '' for all
    this.at = focus;         // the job that is selected
    this.view = { x: 0, y: 0, k: 1 };
    const names = newId('names');
    this.find = h('input', {
      type: 'search', list: names, placeholder: 'Find a job', 'aria-label': 'Find a job', autocomplete: 'off',
      input: () => { this.suggest(); if (store.jobs.has(this.find.value)) this.select(this.find.value, true); },
      keydown: e => { if (e.key === 'Enter') this.select(this.firstMatch(), true); },
    });
    this.names = h('datalist', { id: names });
    this.only = h('input', { type: 'checkbox', id: newId('only'), checked: Boolean(focus), change: () => this.restrict() });
    this.lone = h('input', { type: 'checkbox', id: newId('lone'), change: () => this.rebuild(true) });
    this.count = h('span', { class: 'dim count', role: 'status' });
    this.canvas = h('canvas', { class: 'graph', tabindex: 0, role: 'application', 'aria-label': 'Dependency graph. Arrow keys go to parents, children and siblings, Enter opens the job, plus and minus zoom.' });
    this.info = h('aside', { class: 'panel node-info', hidden: true, 'aria-label': 'Selected job', 'aria-live': 'polite' });
    this.none = h('div', { hidden: true });
    this.stage = h('div', { class: 'stage' }, this.canvas, this.info, h('div', { class: 'zoom' },
      zoomButton('+', 'Zoom in', () => this.zoom(1.4)), zoomButton('−', 'Zoom out', () => this.zoom(1 / 1.4)), zoomButton('⤢', 'Show all', () => this.fit())));
    replace(main, h('div', { class: 'toolbar' }, h('h1', {}, 'Graph'), this.find, this.names,
      h('label', { class: 'check', htmlFor: this.only.id }, this.only, 'only relatives'), h('label', { class: 'check', htmlFor: this.lone.id }, this.lone, 'unrelated jobs'), this.count),
    this.stage, this.none);
    this.listen();
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.stage);
    this.recolour = () => { this.colours = null; this.later(); };
    this.dark = matchMedia('(prefers-color-scheme: dark)');
    this.dark.addEventListener('change', this.recolour);
    addEventListener('themechange', this.recolour);
  }

  suggest() {
    const typed = this.find.value.toLowerCase(), found = [];
    for (const name of this.graph.nodes.keys()) {
      if (name.toLowerCase().includes(typed)) found.push(name);
      if (found.length === 30) break;
    }
    replace(this.names, found.map(name => h('option', { value: name })));
  }

  firstMatch() {
    const typed = this.find.value.toLowerCase();
    return typed && [...this.graph.nodes.keys()].find(name => name.toLowerCase().includes(typed));
  }

  // shape is what the layout depends on: while it stays, only colours change.
  shape() {
    let text = '';
    for (const row of store.jobs.values()) if (row.parents) text += row.name + '<' + row.parents.join() + '\n';
    return `${text}#${this.lone.checked || this.focus ? [...store.jobs.keys()].join() : ''}#${this.focus}`;
  }

  rebuild(fit) {
    const shape = this.shape();
    if (shape !== this.shaped) {
      this.shaped = shape;
      if (this.focus && !store.jobs.has(this.focus)) { this.focus = ''; this.only.checked = false; }
      const all = this.focus ? [...relatives(this.focus)] : [...store.jobs.keys()];
      const names = all.filter(name => store.jobs.has(name) && (this.focus || this.lone.checked || store.jobs.get(name).parents || store.children.has(name)));
      this.graph = layout(names, name => store.jobs.get(name)?.parents);
      this.cells = null;
      this.hidden = this.focus ? 0 : all.length - names.length;
    }
    const n = this.graph.nodes.size;
    this.count.textContent = plural(n, 'job') + (this.hidden > 0 ? `, ${this.hidden.toLocaleString()} unrelated jobs not shown` : '');
    this.stage.hidden = n === 0;
    this.none.hidden = n > 0;
    if (n === 0) {
      replace(this.none, empty(store.jobs.size ? 'No job depends on another.' : 'There are no jobs yet.',
        may('edit') && link(store.jobs.size ? 'Create a dependent job' : 'Create the first one', '#new', { class: 'button primary' })));
    }
    if (this.at && !this.graph.nodes.has(this.at)) this.at = '';
    this.showInfo();
    if (fit) {
      this.resized();
      this.fit(this.w < 600 ? 0.6 : 0.02);
      if (this.at && this.view.k > 0.5) this.reveal(this.at);
    }
    this.later();
  }

  restrict() {
    this.focus = this.only.checked ? this.at : '';
    if (this.only.checked && !this.at) {
      this.only.checked = false;
      this.find.focus();
      return;
    }
    note(this.focus ? '#graph/' + encodeURIComponent(this.focus) : '#graph');
    this.rebuild(true);
  }

  select(name, move) {
    if (!name || !this.graph.nodes.has(name)) return;
    this.at = name;
    this.showInfo();
    if (move) this.reveal(name);
    this.later();
  }

  showInfo() {
    const row = store.jobs.get(this.at);
    this.info.hidden = !row;
    if (!row) return;
    const names = list => list.slice(0, 12).map((n, i) => [i > 0 && ' ', button(n, () => this.select(n, true), 'small quiet')]);
    const kids = this.graph.children.get(this.at) ?? [], elders = this.graph.parents.get(this.at) ?? [];
    const more = list => list.length > 12 && h('span', { class: 'dim' }, ` and ${list.length - 12} more`);
    replace(this.info, h('div', { class: 'panel-head' }, h('h2', {}, link(row.name, '#jobs/' + encodeURIComponent(row.name)))),
      h('div', { class: 'pad' }, h('p', {}, stateBadges(row), ' ', squares(row)),
        elders.length > 0 && h('p', {}, h('span', { class: 'dim' }, 'after '), names(elders), more(elders)),
        kids.length > 0 && h('p', {}, h('span', { class: 'dim' }, 'before '), names(kids), more(kids)),
        h('div', { class: 'inline' }, link('Open', '#jobs/' + encodeURIComponent(row.name), { class: 'button small primary' }),
          button('Only relatives', () => { this.only.checked = true; this.restrict(); }, 'small'),
          may('edit', row) && link('New child', '#new?parent=' + encodeURIComponent(row.name), { class: 'button small' }))));
  }

  resized() {
    const { clientWidth: w, clientHeight: ht } = this.stage;
    if (!w || !ht) return;
    const ratio = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(ht * ratio)) {
      this.canvas.width = Math.round(w * ratio);
      this.canvas.height = Math.round(ht * ratio);
    }
    this.w = w;
    this.h = ht;
    this.later();
  }

  // fit shows everything, or as much of it from the left as the smallest scale, least, allows.
  fit(least = 0.02) {
    if (!this.w || !this.graph.nodes.size) return;
    const k = Math.min(1.1, Math.max(least, Math.min((this.w - 60) / (this.graph.width || 1), (this.h - 60) / (this.graph.height || 1))));
    this.view = { k, x: Math.max(least > 0.02 ? 16 : -Infinity, (this.w - this.graph.width * k) / 2), y: Math.max(least > 0.02 ? 16 : -Infinity, (this.h - this.graph.height * k) / 2) };
    this.later();
  }

  reveal(name) {
    const n = this.graph.nodes.get(name);
    if (!n || !this.w) return;
    const k = Math.max(this.view.k, 0.7);
    this.view = { k, x: this.w / 2 - (n.x + size.w / 2) * k, y: this.h / 2 - (n.y + size.h / 2) * k };
    this.later();
  }

  zoom(factor, x = this.w / 2, y = this.h / 2) {
    const v = this.view, k = Math.min(3, Math.max(0.01, v.k * factor));
    this.view = { k, x: x - (x - v.x) * k / v.k, y: y - (y - v.y) * k / v.k };
    this.later();
  }

  listen() {
    const c = this.canvas, fingers = new Map();
    let moved = 0, spread = 0;
    const point = e => { const r = c.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    c.addEventListener('wheel', e => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), ...point(e)); }, { passive: false });
    c.addEventListener('pointerdown', e => { c.setPointerCapture(e.pointerId); fingers.set(e.pointerId, point(e)); moved = 0; spread = 0; });
    c.addEventListener('pointermove', e => {
      if (!fingers.has(e.pointerId)) { c.style.cursor = this.hit(...point(e)) ? 'pointer' : ''; return; }
      const [x, y] = point(e), [px, py] = fingers.get(e.pointerId);
      fingers.set(e.pointerId, [x, y]);
      moved += Math.abs(x - px) + Math.abs(y - py);
      if (fingers.size === 1) { this.view.x += x - px; this.view.y += y - py; this.later(); return; }
      const [a, b] = [...fingers.values()], now = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (spread) this.zoom(now / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      spread = now;
    });
    const up = e => {
      if (!fingers.delete(e.pointerId) || e.type === 'pointercancel') return;
      spread = 0;
      if (moved > 6 || fingers.size) return;
      const n = this.hit(...point(e));
      if (n) this.select(n.name); else { this.at = ''; this.showInfo(); this.later(); }
    };
    c.addEventListener('pointerup', up);
    c.addEventListener('pointercancel', up);
    c.addEventListener('dblclick', e => { const n = this.hit(...point(e)); if (n) location.hash = '#jobs/' + encodeURIComponent(n.name); });
  }

  key(event) {
    if (event.target !== this.canvas) {
      if (event.key === '/' && !event.target.closest('input')) { this.find.focus(); return true; }
      return false;
    }
    if (event.key === '+' || event.key === '=') this.zoom(1.3);
    else if (event.key === '-') this.zoom(1 / 1.3);
    else if (event.key === '0') this.fit();
    else if (event.key === '/') this.find.focus();
    else if (event.key === 'Enter' && this.at) location.hash = '#jobs/' + encodeURIComponent(this.at);
    else if (event.key === 'Escape') { this.at = ''; this.showInfo(); this.later(); }
    else if (event.key.startsWith('Arrow')) this.select(this.neighbour(event.key), true);
    else return false;
    return true;
  }

  neighbour(key) {
    const n = this.graph.nodes.get(this.at);
    if (!n) return this.graph.nodes.keys().next().value;
    if (key === 'ArrowLeft') return this.graph.parents.get(n.name)[0];
    if (key === 'ArrowRight') return this.graph.children.get(n.name)[0];
    let best = null;
    for (const other of this.graph.nodes.values()) {
      const dy = (other.y - n.y) * (key === 'ArrowDown' ? 1 : -1);
      if (other.x === n.x && dy > 0 && (!best || dy < best[0])) best = [dy, other.name];
    }
    return best?.[1];
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
    if (this.colours) return this.colours;
    const style = getComputedStyle(this.canvas), c = name => style.getPropertyValue(name).trim();
    // Custom properties with light-dark() are returned unresolved; a colour property resolves them.
    const probe = document.createElement('span');
    this.stage.append(probe);
    const resolve = name => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    this.colours = Object.fromEntries(['panel', 'text', 'dim', 'line', 'accent', 'success', 'failure', 'running', 'queued', 'fresh'].map(n => [n, resolve('--' + n)]));
    this.colours.font = c('font-family') || 'sans-serif';
    probe.remove();
    return this.colours;
  }

  draw() {
    if (!this.w || this.stage.hidden) return;
    const g = this.canvas.getContext('2d'), v = this.view, p = this.palette(), ratio = devicePixelRatio || 1;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, this.w, this.h);
    g.translate(v.x, v.y);
    g.scale(v.k, v.k);
    const x0 = -v.x / v.k, y0 = -v.y / v.k, x1 = x0 + this.w / v.k, y1 = y0 + this.h / v.k;
    this.drawEdges(g, p, x0, y0, x1, y1);
    g.font = `500 13px ${p.font}`;
    g.textBaseline = 'middle';
    for (const n of this.within(x0, y0, x1, y1)) this.drawNode(g, p, n);
  }

  drawEdges(g, p, x0, y0, x1, y1) {
    const near = [];
    g.lineWidth = Math.max(1.2, 0.7 / this.view.k);
    g.strokeStyle = p.line;
    g.beginPath();
    for (const [a, b] of this.graph.edges) {
      if (Math.max(a.x, b.x) + size.w < x0 || Math.min(a.x, b.x) > x1 || Math.max(a.y, b.y) + size.h < y0 || Math.min(a.y, b.y) > y1) continue;
      if (a.name === this.at || b.name === this.at) near.push([a, b]); else edge(g, a, b);
    }
    g.stroke();
    g.strokeStyle = p.accent;
    g.lineWidth *= 1.8;
    g.beginPath();
    for (const [a, b] of near) edge(g, a, b);
    g.stroke();
  }

  drawNode(g, p, n) {
    const row = store.jobs.get(n.name);
    if (!row) return;
    const colour = row.problem ? p.failure : row.state === 'running' ? p.running : row.state === 'queued' ? p.queued : p[row.status];
    g.globalAlpha = row.disabled ? 0.55 : 1;
    if (this.view.k < 0.25) {
      g.fillStyle = colour;
      g.fillRect(n.x, n.y, size.w, size.h);
      g.globalAlpha = 1;
      return;
    }
    g.fillStyle = p.panel;
    g.strokeStyle = n.name === this.at ? p.accent : p.line;
    g.lineWidth = n.name === this.at ? 2.5 : 1;
    g.beginPath();
    g.roundRect(n.x, n.y, size.w, size.h, 8);
    g.fill();
    g.stroke();
    g.fillStyle = colour;
    g.beginPath();
    g.roundRect(n.x, n.y, 8, size.h, [8, 0, 0, 8]);
    g.fill();
    if (this.view.k >= 0.4) {
      g.fillStyle = p.text;
      g.fillText(clip(g, n.name, size.w - 26), n.x + 16, n.y + size.h / 2 - (this.view.k >= 0.6 ? 7 : 0));
      if (this.view.k >= 0.6) {
        g.fillStyle = p.dim;
        g.font = `11px ${p.font}`;
        g.fillText([row.state === 'idle' ? row.status : row.state, row.disabled && 'disabled', row.problem && 'problem'].filter(Boolean).join(', '), n.x + 16, n.y + size.h / 2 + 9);
        g.font = `500 13px ${p.font}`;
      }
    }
    g.globalAlpha = 1;
  }

  update(names) {
    if (names !== null && names.size === 0) return;
    this.rebuild(false);
  }

  leave() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.dark.removeEventListener('change', this.recolour);
    removeEventListener('themechange', this.recolour);
  }
}

function zoomButton(label, title, click) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': title, title, click }, label);
}

function edge(g, a, b) {
  const x = a.x + size.w, y = a.y + size.h / 2, tx = b.x, ty = b.y + size.h / 2, mid = size.dx * 0.6;
  g.moveTo(x, y);
  g.bezierCurveTo(x + mid, y, tx - mid, ty, tx, ty);
}

const clipped = new Map();

// clip shortens a text to a width. Measuring is slow, so results are cached.
function clip(g, text, width) {
  let result = clipped.get(text);
  if (result !== undefined) return result;
  result = text;
  if (g.measureText(text).width > width) {
    let n = Math.floor(text.length * width / g.measureText(text).width);
    while (n > 1 && g.measureText(text.slice(0, n) + '…').width > width) n--;
    result = text.slice(0, n) + '…';
  }
  if (clipped.size > 20000) clipped.clear();
  clipped.set(text, result);
  return result;
}
