import { h, link } from './dom.js';
import { count, plural, viewerZone } from './format.js';

const day = 24 * 60 * 60e3, weeks = 53;
const weekdays = ['Mon', '', 'Wed', '', 'Fri', '', ''];

const textOf = ms => new Date(ms).toISOString().slice(0, 10);
const say = (text, options) => new Date(text + 'T00:00:00Z').toLocaleDateString('en-GB', { timeZone: 'UTC', ...options });

// monday is the first day of the week that a day is in. Days are counted as in UTC, whatever the zone, so that each has 24 hours.
const monday = ms => ms - (new Date(ms).getUTCDay() + 6) % 7 * day;

// levelOf says how many of the darkest shade's runs a day had, in quarters.
const levelOf = (n, most) => n === 0 ? 0 : Math.max(1, Math.ceil(4 * n / most));

// today is the day that it is in a zone.
const today = zone => new Intl.DateTimeFormat('en-CA', { timeZone: zone }).format(new Date());

// heatMap draws the runs of a job by day, a column a week, up to today. Each day leads to its runs. Without runs there is none.
export function heatMap(name, doc) {
  const days = new Map(doc.days.map(d => [d.day, d]));
  if (days.size === 0) return null;
  const last = Date.parse(today(viewerZone)), first = Math.max(monday(Date.parse(doc.days[0].day)), monday(last) - (weeks - 1) * 7 * day);
  const most = Math.max(1, ...doc.days.map(d => d.runs));
  const shown = doc.days.filter(d => Date.parse(d.day) >= first), sum = key => shown.reduce((n, d) => n + (d[key] ?? 0), 0);
  const columns = [];
  for (let week = first; week <= last; week += 7 * day) {
    columns.push(h('div', { class: 'heat-week' }, h('span', { class: 'heat-month', 'aria-hidden': 'true' }, monthOf(week, first)),
      [0, 1, 2, 3, 4, 5, 6].map(n => week + n * day).map(ms => ms > last ? h('span', { class: 'heat-day none' }) : cell(name, textOf(ms), days.get(textOf(ms)), most))));
  }
  const map = h('div', { class: 'heat', role: 'group', 'aria-label': `Runs by day since ${say(textOf(first), { day: 'numeric', month: 'long', year: 'numeric' })}: ${plural(sum('runs'), 'run')}, ${count(sum('failed'))} failed`, keydown: press },
    h('div', { class: 'heat-week', 'aria-hidden': 'true' }, h('span', { class: 'heat-month' }), weekdays.map(text => h('span', { class: 'heat-name' }, text))), columns);
  const links = map.querySelectorAll('a');
  if (links.length) links[links.length - 1].tabIndex = 0;
  return h('figure', { class: 'heat-figure' }, h('div', { class: 'heat-box' }, map),
    h('figcaption', {}, h('span', {}, `${plural(sum('runs'), 'run')}, ${count(sum('failed'))} failed`, sum('missed') > 0 && `, ${count(sum('missed'))} missed or skipped`),
      h('span', { class: 'legend' }, 'fewer ', [1, 2, 3, 4].map(n => h('i', { class: 'heat-day', dataset: { level: n } })), ' more', h('i', { class: 'heat-day failed', dataset: { level: 2 } }), ' with failures')));
}

// monthOf is the name of the month that begins in a week.
function monthOf(week, first) {
  const end = new Date(week + 6 * day);
  return end.getUTCDate() <= 7 || week === first && end.getUTCDate() < 22 ? say(textOf(week + 6 * day), { month: 'short' }) : '';
}

function cell(name, text, d, most) {
  if (!d) return h('span', { class: 'heat-day', title: `${say(text, { weekday: 'short', day: 'numeric', month: 'short' })}: no runs` });
  const said = `${say(text, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' })}: ${plural(d.runs, 'run')}` + (d.failed ? `, ${count(d.failed)} failed` : '') + (d.missed ? `, ${count(d.missed)} missed or skipped` : '');
  const next = textOf(Date.parse(text) + day);
  return link('', '#runs?' + new URLSearchParams({ job: name, from: text + 'T00:00', to: next + 'T00:00' }), {
    class: 'heat-day' + (d.failed ? ' failed' : d.runs === 0 ? ' missed' : ''), dataset: { level: levelOf(d.runs, most) }, tabindex: -1, title: said, 'aria-label': said,
  });
}

// press moves between the days that had runs: up and down by one, left and right by about a week.
function press(event) {
  const links = [...event.currentTarget.querySelectorAll('a')], at = links.indexOf(event.target);
  const week = el => [...el.parentElement.parentElement.children].indexOf(el.parentElement);
  const beside = by => links.filter(el => Math.sign(week(el) - week(event.target)) === by).sort((a, b) => Math.abs(week(a) - week(event.target)) - Math.abs(week(b) - week(event.target)) || Math.abs(row(a) - row(event.target)) - Math.abs(row(b) - row(event.target)))[0];
  const row = el => [...el.parentElement.children].indexOf(el);
  const to = { ArrowUp: () => links[at - 1], ArrowDown: () => links[at + 1], ArrowLeft: () => beside(-1), ArrowRight: () => beside(1), Home: () => links[0], End: () => links.at(-1) }[event.key]?.();
  if (at < 0 || !to) return;
  event.target.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
  event.preventDefault();
  event.stopPropagation();
}
