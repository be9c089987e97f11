import { askRun } from './actions.js';
import { may } from './access.js';
import { button, h, hashOf, replace } from './dom.js';
import { pauseOrResume, toggle } from './job_actions.js';

const go = hash => { location.hash = hash; };

// What can be done with a row of the list: the label, the key, whether it is offered, and what it does.
const actions = [
  [() => 'Run', 'r', row => may('run', row), row => askRun(row, may('edit', row))],
  [() => 'Log', 'l', row => row.runs?.length > 0, row => go(hashOf(row.name) + '?run=latest')],
  [() => 'Edit', 'e', row => may('edit', row), row => go(hashOf(row.name) + '/edit')],
  [row => row.disabled ? 'Enable' : 'Disable', 'd', row => may('edit', row), row => toggle(row)],
  [row => row.pausedUntil ? 'Resume' : 'Pause', 'p', row => may('edit', row), pauseOrResume],
];

// RowActions are buttons over the end of one row of a list: the one under the pointer, or the one that the keyboard is at.
export class RowActions {
  constructor(table) {
    this.table = table;
    this.element = h('div', { class: 'row-actions', role: 'group', 'aria-label': 'Actions', hidden: true });
    this.box = h('div', {
      class: 'list-box', mousemove: e => this.point(e.target.closest('.space .row, .row-actions')), mouseleave: () => this.point(null), keydown: () => this.point(null), focusin: () => this.place(), focusout: () => setTimeout(() => this.place()),
    }, table.scroller, this.element);
  }

  point(el) {
    if (el === this.element) return;
    const at = el ? Number(el.dataset.index) : -1;
    if (at === this.pointed) return;
    this.pointed = at;
    this.place();
  }

  // place puts the buttons to their row, or hides them.
  place() {
    const { table, element } = this, inside = element.contains(document.activeElement);
    const at = this.pointed >= 0 ? this.pointed : document.activeElement === table.scroller || inside ? table.at : -1;
    const row = table.rows[at], top = at * table.height - (table.top ?? 0);
    element.hidden = !row || top < -table.height / 2 || top > table.inner - table.headHeight - table.height / 2;
    if (element.hidden) return;
    element.style.transform = `translateY(${table.headHeight + top}px)`;
    const offered = actions.filter(([, , offer]) => offer(row)), key = row.name + offered.map(([label]) => label(row));
    if (this.shown === key && this.row === row) return;
    const focused = [...element.children].indexOf(document.activeElement);
    this.shown = key;
    this.row = row;
    element.setAttribute('aria-label', `Actions on ${row.name}`);
    replace(element, offered.map(([label, shortcut, , act]) => {
      const el = button(label(row), () => act(row), 'small');
      el.setAttribute('aria-keyshortcuts', shortcut);
      el.setAttribute('aria-label', `${label(row)} ${row.name}`);
      el.title = `${label(row)} (${shortcut})`;
      return el;
    }));
    if (focused >= 0) element.children[Math.min(focused, element.children.length - 1)]?.focus();
  }

  // key does what a key stands for to the row that the keyboard is at, and returns whether it stands for anything.
  key(event) {
    if (document.activeElement !== this.table.scroller && !this.element.contains(document.activeElement)) return false;
    const row = this.table.rows[this.table.at], action = actions.find(([, key]) => key === event.key);
    if (!row || !action || !action[2](row)) return false;
    action[3](row);
    return true;
  }
}
