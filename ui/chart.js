import { h, s } from './dom.js';
import { duration, plural, short } from './format.js';

// quantile does not interpolate, like job/stat.
const quantile = (sorted, q) => sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)];

// chart draws how long the runs took, the oldest on the left.
export function chart(runs, open) {
  if (runs.length < 2) return null;
  const bars = runs.slice(0, 60).reverse();
  const took = bars.map(r => r.durationMs).sort((a, b) => a - b);
  const median = quantile(took, 0.5), p95 = quantile(took, 0.95), most = Math.max(1, took.at(-1));
  const width = 600, height = 90, step = width / Math.max(bars.length, 12), y = ms => height - 4 - (height - 12) * ms / most;
  const svg = s('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', class: 'chart', role: 'img', 'aria-label': `How long the last ${plural(bars.length, 'run')} took: median ${duration(median)}, 95th percentile ${duration(p95)}, at most ${duration(most)}` },
    s('line', { x1: 0, x2: width, y1: y(median), y2: y(median), class: 'median', 'vector-effect': 'non-scaling-stroke' }),
    bars.map((r, i) => s('rect', {
      x: i * step + step * 0.12, width: step * 0.76, y: Math.min(y(r.durationMs), height - 6), height: Math.max(height - y(r.durationMs), 6), class: 'bar ' + r.state,
      click: () => open(r),
    }, s('title', {}, `${r.state}, due ${short(Date.parse(r.due))}, took ${duration(r.durationMs)}`))));
  return h('figure', { class: 'chart-figure' }, svg, h('figcaption', {}, `median ${duration(median)} · 95 % below ${duration(p95)} · longest ${duration(most)}`));
}
