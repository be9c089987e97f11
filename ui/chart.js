import { h, s } from './dom.js';
import { duration, plural, short } from './format.js';

// quantile does not interpolate, like job/stat.
const quantile = (sorted, q) => sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)];

const height = 132, left = 64, bottom = 20, top = 10, widest = 44; // px

// steps are the distances, in ms, that lines of an axis may have.
const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map(seconds => seconds * 1000)];

// chart draws how long the runs took, the oldest on the left, as wide as its box. Each bar opens its run.
export function chart(runs, open, width) {
  if (runs.length < 2) return null;
  const bars = runs.slice(0, 60).reverse();
  const took = bars.map(r => r.durationMs).sort((a, b) => a - b);
  const median = quantile(took, 0.5), p95 = quantile(took, 0.95), most = Math.max(1, took.at(-1));
  const unit = steps.find(ms => most / ms <= 4) ?? Math.ceil(most / 4 / 86400e3) * 86400e3, full = Math.ceil(most / unit) * unit;
  const step = Math.min(widest, (width - left) / bars.length), base = height - bottom, y = ms => base - (base - top) * ms / full;
  const label = (x, at, text, anchor) => s('text', { x, y: at, 'text-anchor': anchor, class: 'axis' }, text);
  const lines = Array.from({ length: full / unit + 1 }, (_, i) => i * unit);
  const bar = (r, i) => {
    const text = `${r.state}, due ${short(Date.parse(r.due))}, took ${duration(r.durationMs)}`;
    return s('rect', {
      x: left + i * step + step * 0.12, width: step * 0.76, y: Math.min(y(r.durationMs), base - 4), height: Math.max(base - y(r.durationMs), 4), rx: 2, class: 'bar ' + r.state,
      role: 'button', tabindex: i === bars.length - 1 ? 0 : -1, 'aria-label': text, click: () => open(r), keydown: e => press(e, r, open),
    }, s('title', {}, text));
  };
  const first = short(Date.parse(bars[0].due)), last = short(Date.parse(bars.at(-1).due)), end = left + bars.length * step;
  const svg = s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'group', 'aria-label': `How long the last ${plural(bars.length, 'run')} took: median ${duration(median)}, 95th percentile ${duration(p95)}, at most ${duration(most)}` },
    lines.map(ms => [s('line', { x1: left, x2: width, y1: y(ms), y2: y(ms), class: 'base' }), label(left - 8, y(ms) + 4, ms ? duration(ms) : '0', 'end')]),
    s('line', { x1: left, x2: width, y1: y(median), y2: y(median), class: 'median' }),
    label(left, height - 4, first, 'start'), end - left > 160 && label(end, height - 4, last, 'end'), bars.map(bar));
  return h('figure', { class: 'chart-figure' }, svg, h('figcaption', {}, `How long the last ${plural(bars.length, 'run')} took: median ${duration(median)} (dashed), 95 % at most ${duration(p95)}, longest ${duration(most)}`));
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
