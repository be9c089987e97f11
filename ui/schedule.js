import { preview, upcoming } from './api.js';
import { button, complain, field, h, newId, replace } from './dom.js';
import { countdown, short, validZone, viewerZone } from './format.js';
import { kindOf, kinds, read } from './rhythm.js';

const few = 5;

// occurrences lists instants in the viewer's zone, the job's and, where there is room, UTC: a few, and the others on demand.
export function occurrences(list, zone) {
  if (list.length === 0) return h('p', { class: 'dim pad' }, 'It will not be due again.');
  const own = validZone(zone) && zone !== viewerZone && zone !== 'UTC';
  const utc = viewerZone !== 'UTC';
  const line = o => {
    const ms = Date.parse(o.utc);
    return h('tr', { class: o.note ? 'noted' : '' }, h('td', { title: o.utc }, short(ms), h('small', { class: 'dim' }, countdown(ms))), own && h('td', { title: o.local }, localText(o.local)),
      utc && h('td', { class: 'roomy', title: o.utc }, localText(o.utc)), h('td', { class: 'note' }, o.note));
  };
  const body = h('tbody', {}, list.slice(0, few).map(line));
  const more = list.length > few && button(`${list.length - few} more`, () => { body.append(...list.slice(few).map(line)); more.remove(); }, 'small quiet');
  return h('div', { class: 'instants-box' }, h('div', { class: 'table-box', tabindex: 0, role: 'region', 'aria-label': 'Next instants' }, h('table', { class: 'instants' }, h('thead', {}, h('tr', {},
    h('th', { scope: 'col' }, viewerZone), own && h('th', { scope: 'col' }, zone), utc && h('th', { scope: 'col', class: 'roomy' }, 'UTC'), h('th', { scope: 'col' }, h('span', { class: 'sr' }, 'Note')))), body)), more);
}

// localText shows an instant with an offset as written, without the parts that are always the same.
const localText = text => text.replace('T', ' ').replace(/\.\d+/, '').replace(/(:\d\d):00(Z|[+-])/, '$1$2').replace(/Z$/, '');

const zones = () => Intl.supportedValuesOf?.('timeZone') ?? [];

// A ScheduleEditor edits a schedule and its zone, in words or as text, and shows what they mean as the user types.
export class ScheduleEditor {
  constructor(schedule, zone, changed, job) {
    this.changed = changed;
    this.job = job; // name, if it exists, the name as it is typed, and epsilon
    this.wrong = '';
    this.text = h('input', { type: 'text', class: 'mono', value: schedule ?? '', spellcheck: 'false', autocomplete: 'off', dataset: { key: 'schedule' }, input: () => { this.recognise(); this.edited(); } });
    const known = newId('zones');
    this.zone = h('input', { type: 'text', value: zone ?? '', list: known, spellcheck: 'false', autocomplete: 'off', placeholder: 'the server’s', dataset: { key: 'scheduleTimeZone' }, input: () => { this.showZone(); this.edited(); } });
    this.list = h('datalist', { id: known }, ['UTC', ...zones()].map(z => h('option', { value: z })));
    this.kind = h('select', { change: () => this.choose() }, Object.entries(kinds).map(([id, { label }]) => h('option', { value: id }, label)));
    this.parts = h('div', { class: 'inline rhythm', role: 'group', 'aria-label': 'When' });
    this.result = h('div', { class: 'preview', 'aria-live': 'polite' });
    this.textField = field('Schedule', this.text, '');
    this.hint = h('small', { class: 'hint' });
    this.textField.append(this.hint);
    this.element = h('div', { class: 'schedule' },
      h('div', { class: 'schedule-row' }, field('Repeats', this.kind), this.parts, field('Time zone', this.zone, '')), this.list, this.textField, this.result);
    this.recognise();
    this.ask();
  }

  owns(el) { return el === this.text || el === this.zone; }

  // recognise shows a text in the simplest of the kinds that can express it.
  recognise() {
    const kind = document.activeElement === this.text && ['cron', 'iso'].includes(this.kind.value) ? this.kind.value : kindOf(this.text.value);
    this.kind.value = kind;
    this.show(read(kind, this.text.value));
  }

  choose() {
    const { make } = kinds[this.kind.value], values = read(this.kind.value, this.text.value);
    this.show(values);
    if (make) this.write(); else this.text.focus();
  }

  // show offers what a kind of schedule has to say.
  show(values) {
    const kind = kinds[this.kind.value];
    this.controls = kind.controls?.(values, () => this.write()) ?? {};
    replace(this.parts, Object.values(this.controls).map(({ before, el, after }) => h('span', { class: 'nowrap' }, before, ' ', el, ' ', after)), kind.zoned && (this.zoneNote = h('span', { class: 'dim' })));
    this.hint.textContent = kind.hint ?? 'The same as text, which can be edited too.';
    this.showZone();
  }

  showZone() {
    if (this.zoneNote) this.zoneNote.textContent = this.zone.value || 'the server’s zone';
  }

  write() {
    const values = Object.fromEntries(Object.entries(this.controls).map(([key, { value }]) => [key, value()]));
    this.text.value = kinds[this.kind.value].make(values) ?? this.text.value;
    this.edited();
  }

  edited() {
    this.wrong = ''; // not judged yet
    this.changed(this.text.value, this.zone.value);
    this.askSoon();
  }

  askSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 200);
  }

  async ask() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const text = this.text.value;
    if (!text.trim()) { replace(this.result, h('p', { class: 'dim' }, 'Say when it runs to see when it is due.')); this.complain(''); return; }
    try {
      const answer = await this.foretell(text, this.zone.value, signal);
      this.complain('');
      this.job.mended();
      replace(this.result, h('p', { class: 'words' }, answer.words && `Runs ${answer.words}.`, onceMore(text)), answer.spread && h('p', { class: 'dim' }, 'H stands for a value that follows from the name: ', h('code', {}, answer.spread)),
        answer.upcoming.length === 0 ? h('p', { class: 'alert bad' }, 'All of it lies in the past: as it is, the job will not run.') : [h('h3', {}, 'Due next'), occurrences(answer.upcoming, this.zone.value)]);
    } catch (err) {
      if (err.name === 'AbortError') return;
      this.complain(err.message);
      replace(this.result);
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

  // complain shows what is wrong at the field that it is about.
  complain(message) {
    const [, key, rest] = /^(schedule|scheduleTimeZone|epsilon|name): (.*)$/s.exec(message) ?? [, 'schedule', message];
    this.wrong = key === 'schedule' || key === 'scheduleTimeZone' ? rest : '';
    complain(this.zone, key === 'scheduleTimeZone' ? rest.replace(/so UTC is used instead, as in Java; /, '') : '');
    complain(this.text, key === 'schedule' ? rest : key === 'name' ? 'An H needs the job’s name first.' : '');
  }

  close() {
    clearTimeout(this.timer);
    this.asking?.abort();
  }
}

// onceMore says what follows the single run of a job.
const onceMore = text => /^R1\//.test(text) && ' When it has succeeded, the job is disabled.';
