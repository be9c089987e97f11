import { preview, upcoming } from './api.js';
import { button, field, h, newId, replace } from './dom.js';
import { countdown, short, validZone, viewerZone } from './format.js';

// occurrences lists instants in the viewer's zone, the job's and UTC.
export function occurrences(list, zone) {
  if (list.length === 0) return h('p', { class: 'dim pad' }, 'It will not be due again.');
  const own = validZone(zone) && zone !== viewerZone && zone !== 'UTC';
  const utc = viewerZone !== 'UTC';
  return h('div', { class: 'table-box', tabindex: 0, role: 'region', 'aria-label': 'Next instants' }, h('table', { class: 'instants' }, h('thead', {}, h('tr', {},
    h('th', { scope: 'col' }, viewerZone), own && h('th', { scope: 'col' }, zone), utc && h('th', { scope: 'col' }, 'UTC'), h('th', { scope: 'col' }, h('span', { class: 'sr' }, 'When')))),
  h('tbody', {}, list.map(o => {
    const ms = Date.parse(o.utc);
    return h('tr', { class: o.note ? 'noted' : '' }, h('td', { title: o.utc }, short(ms)), own && h('td', { title: o.local }, localText(o.local)), utc && h('td', { title: o.utc }, localText(o.utc)),
      h('td', {}, h('span', { class: 'dim' }, countdown(ms)), o.note && h('div', { class: 'note' }, o.note)));
  }))));
}

// localText shows an instant with an offset as written, without the parts that are always the same.
const localText = text => text.replace('T', ' ').replace(/\.\d+/, '').replace(/(:\d\d):00(Z|[+-])/, '$1$2').replace(/Z$/, '');

const zones = () => Intl.supportedValuesOf?.('timeZone') ?? [];

const units = { minutes: 'PTnM', hours: 'PTnH', days: 'PnD', weeks: 'PnW', months: 'PnM', seconds: 'PTnS' };

// A ScheduleEditor edits a schedule and its zone, and shows what they mean as the user types.
export class ScheduleEditor {
  constructor(schedule, zone, changed, job) {
    this.changed = changed;
    this.job = job; // name, if it exists, the name as it is typed, and epsilon
    this.text = h('input', { type: 'text', class: 'mono', value: schedule ?? '', spellcheck: 'false', autocomplete: 'off', dataset: { key: 'schedule' }, input: () => this.edited() });
    const known = newId('zones');
    this.zone = h('input', { type: 'text', value: zone ?? '', list: known, spellcheck: 'false', autocomplete: 'off', dataset: { key: 'scheduleTimeZone' }, input: () => this.edited() });
    this.list = h('datalist', { id: known }, ['UTC', ...zones()].map(z => h('option', { value: z })));
    this.result = h('div', { class: 'preview', 'aria-live': 'polite' });
    this.element = h('div', { class: 'schedule' },
      h('div', { class: 'pair' }, field('Schedule', this.text, 'ISO 8601: repetitions/start/period, e.g. R/2030-01-01T06:00:00Z/PT1H; or cron: minute hour day month weekday, e.g. 0 6 * * 1-5'),
        field('Time zone', this.zone, 'For cron, and for a start without an offset. If empty, the server’s.')), this.list, this.builder(), this.result);
    this.ask();
  }

  edited() {
    this.changed(this.text.value, this.zone.value);
    this.askSoon();
  }

  askSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 200);
  }

  set(text) {
    this.text.value = text;
    this.edited();
  }

  builder() {
    const every = h('input', { type: 'number', min: 1, value: 1, class: 'tiny', 'aria-label': 'Period' });
    const unit = h('select', { 'aria-label': 'Unit' }, Object.keys(units).map(u => h('option', { value: u, selected: u === 'hours' }, u)));
    const start = h('input', { type: 'datetime-local', 'aria-label': 'Start' });
    const times = h('input', { type: 'number', min: 1, placeholder: 'forever', class: 'small-number', 'aria-label': 'Repetitions' });
    const write = () => {
      const at = start.value ? start.value + (start.value.length === 16 ? ':00' : '') + (this.zone.value ? '' : 'Z') : new Date().toISOString().slice(0, 17) + '00Z';
      this.set(`R${times.value}/${at}/${units[unit.value].replace('n', Math.max(1, every.valueAsNumber || 1))}`);
    };
    const crons = { 'every 5 minutes': '*/5 * * * *', 'every hour': '0 * * * *', 'every day at 6': '0 6 * * *', 'on workdays at 6': '0 6 * * 1-5', 'on the first of the month': '0 6 1 * *' };
    return h('details', { class: 'builder' }, h('summary', {}, 'Build a schedule'),
      h('div', { class: 'inline' }, 'every', every, unit, 'from', start, h('span', { class: 'nowrap' }, 'times ', times), button('Use', write, 'small')),
      h('div', { class: 'inline' }, 'or cron:', Object.entries(crons).map(([label, text]) => button(label, () => this.set(text), 'small quiet'))));
  }

  async ask() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const text = this.text.value;
    if (!text.trim()) { replace(this.result, h('p', { class: 'dim' }, 'Type a schedule to see when it is due.')); this.invalid(''); return; }
    try {
      const answer = await this.foretell(text, this.zone.value, signal);
      this.invalid('');
      replace(this.result, h('h3', {}, 'Due next'), answer.spread && h('p', { class: 'dim' }, 'H stands for a value that follows from the name: ', h('code', {}, answer.spread)), occurrences(answer.upcoming, this.zone.value));
    } catch (err) {
      if (err.name === 'AbortError') return;
      this.invalid(err.message);
      replace(this.result, h('p', { class: 'bad-text', role: 'alert' }, err.message));
    }
  }

  // foretell asks when the schedule runs. If the job already has this schedule, it continues from where it is, which its text alone does not say.
  async foretell(text, zone, signal) {
    if (this.job.name) {
      const answer = await upcoming(this.job.name, { signal });
      if (answer.schedule === text && answer.scheduleTimeZone === zone && !answer.parents && !answer.disabled) return answer;
    }
    return preview(this.job.typed(), text, zone, this.job.epsilon(), { signal });
  }

  invalid(message) {
    const wrong = !message ? null : message.startsWith('scheduleTimeZone:') ? this.zone : message.startsWith('epsilon:') ? null : this.text;
    for (const el of [this.text, this.zone]) {
      if (el === wrong) el.setAttribute('aria-invalid', 'true'); else el.removeAttribute('aria-invalid');
    }
  }

  close() {
    clearTimeout(this.timer);
    this.asking?.abort();
  }
}
