// h makes an element. Text only ever becomes text nodes; there is no way to pass HTML.
// In props, class and dataset are what their names say, functions are listeners for the event of that name,
// properties of the element are set as such, and the rest are attributes.
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// s makes an SVG element.
export function s(tag, props, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

const properties = new Set(['value', 'checked', 'disabled', 'hidden', 'selected', 'indeterminate', 'readOnly', 'htmlFor', 'textContent', 'open']);

function fill(el, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false && !properties.has(key)) continue;
    if (typeof value === 'function') el.addEventListener(key, value);
    else if (key === 'class') el.setAttribute('class', value);
    else if (key === 'dataset') Object.assign(el.dataset, value);
    else if (properties.has(key)) el[key] = value;
    else el.setAttribute(key, value === true ? '' : value);
  }
  append(el, children);
  return el;
}

export function append(el, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) el.append(child);
  }
  return el;
}

export function replace(el, ...children) {
  el.replaceChildren();
  return append(el, children);
}

let ids = 0;
export function newId(prefix) { return `${prefix}-${++ids}`; }

// A field is a label, a control and a hint below it.
export function field(label, control, hint, extraClass = '') {
  control.id ||= newId('f');
  const parts = [h('label', { htmlFor: control.id }, label), control];
  if (hint) {
    const note = h('small', { id: control.id + '-hint', class: 'hint' }, hint);
    control.setAttribute('aria-describedby', note.id);
    parts.push(note);
  }
  return h('div', { class: 'field ' + extraClass }, parts);
}

// complain shows at a control's field what is wrong with its value, nothing if the text is empty.
export function complain(control, text) {
  const place = control.closest('.field') ?? control.parentElement;
  let note = place.querySelector(':scope > .complaint');
  if (!text) {
    note?.remove();
    control.removeAttribute('aria-invalid');
    return;
  }
  control.setAttribute('aria-invalid', 'true');
  if (note?.textContent === text) return;
  if (!note) place.append(note = h('small', { class: 'bad-text complaint', role: 'alert' }));
  note.textContent = text;
  place.closest('details')?.setAttribute('open', '');
}

export function button(label, click, kind = '') {
  return h('button', { type: 'button', class: 'button ' + kind, click }, label);
}

// hashOf is the address of the page of a job.
export const hashOf = name => '#jobs/' + encodeURIComponent(name);

export function link(label, hash, props) {
  return h('a', { href: hash, ...props }, label);
}

// toast says something for some seconds: ten with an action that is offered, { label, act }.
export function toast(text, bad, action) {
  const box = document.getElementById('toasts');
  const el = h('div', { class: 'toast' + (bad ? ' bad' : ''), role: bad ? 'alert' : undefined }, h('span', {}, text),
    action && h('button', { type: 'button', class: 'toast-act', click: () => { el.remove(); action.act(); } }, action.label),
    h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Dismiss', click: () => el.remove() }, '×'));
  box.append(el);
  setTimeout(() => el.remove(), bad ? 15000 : action ? 10000 : 5000);
  while (box.children.length > 4) box.firstChild.remove();
}

// dialog shows a modal dialog and resolves when it closes: to the value that build passed to done,
// or undefined if it was cancelled.
export function dialog(title, build, wide) {
  return new Promise(resolve => {
    const heading = newId('dialog');
    const el = h('dialog', { class: 'dialog' + (wide ? ' wide' : ''), 'aria-labelledby': heading });
    let result;
    const done = value => { result = value; el.close(); };
    append(el, h('div', { class: 'dialog-head' }, h('h2', { id: heading }, title),
      h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', click: () => el.close() }, '×')), build(done, el));
    el.addEventListener('close', () => { el.remove(); resolve(result); });
    document.body.append(el);
    el.showModal();
    el.querySelector('[autofocus]')?.focus();
  });
}

// confirm says what will happen and asks whether to go on.
export function confirm(title, what, verb, danger) {
  return dialog(title, done => [
    h('div', { class: 'dialog-body' }, what),
    h('div', { class: 'dialog-foot' }, h('button', { type: 'button', class: 'button', autofocus: danger, click: () => done(false) }, 'Cancel'),
      h('button', { type: 'button', class: 'button ' + (danger ? 'danger' : 'primary'), autofocus: !danger, click: () => done(true) }, verb)),
  ]);
}

// closeMenus closes the menus that are open, except one, and returns whether there were any.
export function closeMenus(except) {
  const open = [...document.querySelectorAll('details.menu[open]')].filter(menu => menu !== except);
  for (const menu of open) {
    if (menu.contains(document.activeElement)) menu.querySelector('summary').focus();
    menu.open = false;
  }
  return open.length > 0;
}

export function empty(text, ...more) {
  return h('div', { class: 'empty' }, h('p', {}, text), more);
}
