import { h } from './dom.js';

// Kinds of schedules, from what people say to the texts that Chronos reads. Each of those that are not written as text has controls for its
// values, each { el, value, before, after }, make, which returns the text for the values, and match, which finds them in a text, undefined for others'.

const days = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
const units = { seconds: 'PTnS', minutes: 'PTnM', hours: 'PTnH', days: 'PnD', weeks: 'PnW', months: 'PnM' };
const letters = { TS: 'seconds', TM: 'minutes', TH: 'hours', D: 'days', W: 'weeks', M: 'months' };

function clock(values, told) {
  const el = h('input', { type: 'time', 'aria-label': 'Time of day', value: values.at ?? '06:00', input: told });
  return { before: 'at', el, value: () => el.value };
}

const clockOf = (minute, hour) => `${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`;

function atTime(at, rest) {
  const [hour, minute] = (at || '06:00').split(':').map(Number);
  return `${minute} ${hour} ${rest}`;
}

// daily makes a kind of which all but the time of day is fixed.
const daily = (label, rest) => ({
  label, zoned: true, controls: (values, told) => ({ at: clock(values, told) }),
  make: ({ at }) => atTime(at, rest),
  match: text => {
    const [, minute, hour, found] = /^(\d{1,2}) (\d{1,2}) (\S+ \S+ \S+)$/.exec(text) ?? [];
    return found === rest ? { at: clockOf(minute, hour) } : undefined;
  },
});

// Dates and times without an offset are those of the job's zone.
const local = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const localNow = () => { const d = new Date(Date.now() + 36e5); return new Date(d - d.getTimezoneOffset() * 60e3).toISOString().slice(0, 13) + ':00'; };

function moment(label, text, told) {
  const el = h('input', { type: 'datetime-local', 'aria-label': label, value: text ?? '', input: told });
  return { el, value: () => el.value && el.value.slice(0, 16) + ':00' };
}

function dayBoxes(values, told) {
  const chosen = values.days ?? [1];
  const boxes = days.map((name, i) => h('input', { type: 'checkbox', 'aria-label': name, checked: chosen.includes(i + 1), change: told }));
  const el = h('span', { class: 'days' }, boxes.map((box, i) => h('label', { class: 'check' }, box, days[i].slice(0, 2))));
  return { before: 'on', el, value: () => boxes.flatMap((box, i) => box.checked ? [i + 1] : []) };
}

// weekdaysOf reads 1,3-5 as [1, 3, 4, 5], with Sunday as 7.
function weekdaysOf(text) {
  if (!/^[0-7](-[0-7])?(,[0-7](-[0-7])?)*$/.test(text)) return undefined;
  const found = text.split(',').flatMap(part => { const [from, to = from] = part.split('-').map(Number); return Array.from({ length: to - from + 1 }, (_, i) => from + i || 7); });
  return [...new Set(found)].sort();
}

export const kinds = {
  every: {
    label: 'every', zoned: true,
    controls: (values, told) => {
      const n = h('input', { type: 'number', min: 1, step: 1, class: 'tiny', 'aria-label': 'Period', value: values.n ?? 1, input: told });
      const unit = h('select', { 'aria-label': 'Unit', change: told }, Object.keys(units).map(u => h('option', { value: u, selected: u === (values.unit ?? 'hours') }, u)));
      return { n: { el: n, value: () => Math.max(1, Math.round(n.valueAsNumber) || 1) }, unit: { el: unit, value: () => unit.value }, start: { before: 'from', ...moment('Start', values.start ?? localNow(), told) } };
    },
    make: ({ n, unit, start }) => `R/${start}/${units[unit].replace('n', n)}`,
    match: text => {
      const [, start, t, n, letter] = /^R\/([^/]*)\/P(T?)(\d+)([SMHDW])$/.exec(text) ?? [];
      const unit = letters[t + letter];
      return unit && (start === '' || /^\d{4}-\d\d-\d\dT\d\d:\d\d(:00)?$/.test(start)) ? { n, unit, start: start.slice(0, 16) } : undefined;
    },
  },
  daily: daily('daily', '* * *'),
  weekdays: daily('on weekdays', '* * 1-5'),
  weekly: {
    label: 'weekly on', zoned: true, controls: (values, told) => ({ days: dayBoxes(values, told), at: clock(values, told) }),
    make: ({ days: chosen, at }) => atTime(at, `* * ${chosen.length ? chosen.join(',') : 1}`),
    match: text => {
      const [, minute, hour, list] = /^(\d{1,2}) (\d{1,2}) \* \* (\S+)$/.exec(text) ?? [];
      const found = list && weekdaysOf(list);
      return found ? { days: found, at: clockOf(minute, hour) } : undefined;
    },
  },
  monthly: {
    label: 'monthly on', zoned: true,
    controls: (values, told) => {
      const el = h('input', { type: 'number', min: 1, max: 31, class: 'tiny', 'aria-label': 'Day of the month', value: values.day ?? 1, input: told });
      return { day: { before: 'day', el, value: () => Math.min(31, Math.max(1, Math.round(el.valueAsNumber) || 1)) }, at: clock(values, told) };
    },
    make: ({ day, at }) => atTime(at, `${day} * *`),
    match: text => {
      const [, minute, hour, day] = /^(\d{1,2}) (\d{1,2}) (\d{1,2}) \* \*$/.exec(text) ?? [];
      return day && { day, at: clockOf(minute, hour) };
    },
  },
  once: {
    label: 'once at', zoned: true, controls: (values, told) => ({ start: moment('Date and time', values.start ?? localNow(), told) }),
    make: ({ start }) => start && `R1/${start}/P1D`,
    match: text => {
      const [, start] = /^R1\/([^/]*)\/P1D$/.exec(text) ?? [];
      return start && /^\d{4}-\d\d-\d\dT\d\d:\d\d(:00)?$/.test(start) ? { start: start.slice(0, 16) } : undefined;
    },
  },
  cron: { label: 'cron', hint: 'Minute, hour, day of the month, month and day of the week, like 0 6 * * 1-5; with six fields, seconds come first.' },
  iso: { label: 'ISO 8601', hint: 'Repetitions, start and period, like R/2030-01-01T06:00:00Z/PT1H. R5 is five times, and without a start it begins when it is saved.' },
};

// kindOf returns the simplest kind that can express a text.
export function kindOf(text) {
  const found = Object.keys(kinds).find(id => kinds[id].match?.(text.trim()));
  return found ?? (/^R?\d*\//.test(text) ? 'iso' : 'cron');
}

// read returns what a text says in a kind's terms: the time of day or start that another kind can use too, if it says nothing else.
export function read(kind, text) {
  const own = kinds[kind].match?.(text.trim());
  if (own) return own;
  const { at, start } = kinds[kindOf(text)].match?.(text.trim()) ?? {};
  return { at: at ?? (local.test(start ?? '') ? start.slice(11, 16) : undefined), start };
}
