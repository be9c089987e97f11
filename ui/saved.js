import { dialog, field, button, h, link, replace, toast } from './dom.js';

const key = 'chronos.filters';

const read = () => { try { return JSON.parse(localStorage.getItem(key)) ?? []; } catch { return []; } };

function write(list) {
  try { localStorage.setItem(key, JSON.stringify(list)); } catch { toast('The filter can’t be saved: the browser forbids storage.', true); }
}

// savedFilters are those of a page, and a button that saves what its address says now.
export function savedFilters(page) {
  const { element, add } = showSaved(page);
  return [button('Save filter', add, 'small quiet'), element];
}

// showSaved shows the filters of a page that were saved in this browser, each a link, and saves others.
export function showSaved(page) {
  const element = h('div', { class: 'saved inline', hidden: true });
  const draw = () => {
    const list = read().filter(f => f.hash.startsWith(page));
    element.hidden = list.length === 0;
    replace(element, list.map(f => h('span', { class: 'chip' }, link(f.name, f.hash), h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Forget ' + f.name, click: () => { write(read().filter(other => other.name !== f.name)); draw(); } }, '×'))));
  };
  const add = async () => {
    const { hash } = location;
    const name = await dialog('Save this filter', done => {
      const input = h('input', { type: 'text', autofocus: true, required: true, autocomplete: 'off' });
      return h('form', { submit: e => { e.preventDefault(); done(input.value.trim()); } }, h('div', { class: 'dialog-body' }, field('Name', input, 'Kept in this browser')), h('div', { class: 'dialog-foot' }, button('Cancel', () => done()), h('button', { type: 'submit', class: 'button primary' }, 'Save')));
    });
    if (!name) return;
    write([...read().filter(f => f.name !== name), { name, hash }]);
    draw();
  };
  draw();
  return { element, add };
}
