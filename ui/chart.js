import { h, s } from './dom.js';
import { duration, plural, short } from './format.js';

// quantile does not interpolate, like job/stat.
const quantile = (sorted, q) => sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)];

const width = 600, height = 110, left = 64, bottom = 16, top = 8; // of the drawing, which keeps its proportions

// chart draws how long the runs took, the oldest on the left. Each bar opens its run.
export function chart(runs, open) {
  if (runs.length < 2) return null;
  const bars = runs.slice(0, 60).reverse();
  const took = bars.map(r => r.durationMs).sort((a, b) => a - b);
  const median = quantile(took, 0.5), p95 = quantile(took, 0.95), most = Math.max(1, took.at(-1));
  const step = (width - left) / Math.max(bars.length, 12), base = height - bottom, y = ms => base - (base - top) * ms / most;
  const label = (x, at, text, anchor) => s('text', { x, y: at, 'text-anchor': anchor, class: 'axis' }, text);
  const bar = (r, i) => {
    const text = `${r.state}, due ${short(Date.parse(r.due))}, took ${duration(r.durationMs)}`;
    return s('rect', {
      x: left + i * step + step * 0.12, width: step * 0.76, y: Math.min(y(r.durationMs), base - 4), height: Math.max(base - y(r.durationMs), 4), class: 'bar ' + r.state,
      role: 'button', tabindex: i === bars.length - 1 ? 0 : -1, 'aria-label': text, click: () => open(r), keydown: e => press(e, r, open),
    }, s('title', {}, text));
  };
  const svg = s('svg', { viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'group', 'aria-label': `How long the last ${plural(bars.length, 'run')} took: median ${duration(median)}, 95th percentile ${duration(p95)}, at most ${duration(most)}` },
    [[most, duration(most)], [median, duration(median)]].filter(([ms], i) => i === 0 || y(ms) - y(most) > 12).map(([ms, text]) => [s('line', { x1: left, x2: width, y1: y(ms), y2: y(ms), class: 'median' }), label(left - 6, y(ms) + 4, text, 'end')]),
    s('line', { x1: left, x2: width, y1: base, y2: base, class: 'base' }), label(left - 6, base + 4, '0', 'end'),
    label(left, height - 3, short(Date.parse(bars[0].due)), 'start'), label(Math.max(left + 120, left + bars.length * step), height - 3, short(Date.parse(bars.at(-1).due)), 'end'), bars.map(bar));
  return h('figure', { class: 'chart-figure' }, svg, h('figcaption', {}, `median ${duration(median)} · 95 % below ${duration(p95)} · longest ${duration(most)}`));
}

// press moves between bars with the arrows, and opens one.
function press(event, run, open) {
  const next = { ArrowLeft: event.target.previousElementSibling, ArrowRight: event.target.nextElementSibling }[event.key];
  if (next?.matches('.bar')) {
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  } else if (event.key === 'Enter' || event.key === ' ') open(run);
  else return;
  event.preventDefault();
  event.stopPropagation();
}
