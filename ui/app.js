import { may } from './access.js';
import { showWaiting } from './actions.js';
import { append, button, closeMenus, dialog, h, replace, toast } from './dom.js';
import { count, plural, short } from './format.js';
import { openPalette } from './palette.js';
import { start, store, watch } from './live.js';
import overview from './overview.js';
import jobs from './jobs.js';
import job from './job.js';
import editor from './editor.js';
import graph from './graph.js';
import grid from './grid.js';
import runs from './runs.js';
import timeline from './timeline.js';
import cluster from './cluster.js';
import activity from './activity.js';
import dagrun from './dagrun.js';

const main = document.getElementById('main-content');

// A page is a function (main, parts, query) that draws the page and returns
// { update(names), leave(), keys }, each of which may be missing. leave returns
// a question to ask before unsaved input is lost.
const pages = { overview, jobs, job, editor, graph, grid, runs, timeline, cluster, activity, dagrun };

let page = null, shown = '';

// route reads the fragment: #overview, #jobs?q=…, #jobs/<name> (as in every version of
// Chronos), #jobs/<name>/edit, #new, #graph/<name>, #grid, #runs, #timeline, #cluster, #activity, #dag/<run>.
function route(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const parts = path.split('/').map(part => { try { return decodeURIComponent(part); } catch { return part; } });
  const q = new URLSearchParams(query);
  switch (parts[0]) {
    case '': case 'overview': return ['overview', [], q];
    case 'jobs': case 'job':
      if (parts.length < 2 || parts[1] === '') return ['jobs', [], q];
      if (parts.at(-1) === 'edit' && parts.length > 2) return ['editor', [parts.slice(1, -1).join('/')], q];
      return ['job', [parts.slice(1).join('/')], q];
    case 'new': return ['editor', [null], q];
    case 'dag': return ['dagrun', [parts.slice(1).join('/')], q];
    case 'graph': return ['graph', parts.slice(1), q];
    case 'grid': case 'runs': case 'timeline': case 'cluster': case 'activity': return [parts[0], [], q];
  }
  return ['missing', parts, q];
}

// enough tells whether a page can be drawn while more jobs are still to come.
function enough(name, parts) {
  if (!store.partial) return store.loaded;
  return store.jobs.size > 0 && (['jobs', 'overview', 'grid', 'timeline'].includes(name) || name === 'job' && store.jobs.has(parts[0]));
}

let lacking = true;

function show() {
  if (location.hash === '#main-content') {
    main.focus();
    history.replaceState(null, '', shown || '#overview');
    shown = location.hash;
    return;
  }
  if (page && location.hash !== shown) {
    const question = page.unsaved?.();
    if (question && !window.confirm(question)) {
      history.pushState(null, '', shown || '#overview');
      shown = location.hash;
      return;
    }
  }
  const [name, parts, query] = route(location.hash);
  page?.leave?.();
  page = null;
  shown = location.hash;
  for (const a of document.querySelectorAll('nav a')) {
    const here = a.dataset.page === name || a.dataset.page === 'jobs' && (name === 'job' || name === 'editor') || a.dataset.page === 'runs' && name === 'dagrun';
    if (here) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
  main.className = 'page-' + name;
  document.title = [name === 'dagrun' ? 'DAG run' : parts[0], name === 'job' || name === 'dagrun' ? '' : name, 'Chronos'].filter(Boolean).join(' · ');
  replace(main);
  lacking = !enough(name, parts);
  if (lacking) {
    append(main, store.error ? h('div', { class: 'empty' }, h('p', {}, store.error), store.state !== 'denied' && h('p', { class: 'dim' }, 'Retrying …'))
      : h('div', { class: 'empty' }, h('p', {}, 'Loading …', store.partial && ` ${count(store.jobs.size)} of ${plural(store.info.totals.jobs, 'job')}`)));
    return;
  }
  if (!pages[name]) {
    append(main, h('div', { class: 'empty' }, h('h1', {}, 'No such page'), h('p', {}, h('a', { href: '#jobs' }, 'All jobs'))));
    return;
  }
  if (name === 'editor' && !may('edit', store.jobs.get(parts[0] ?? ''))) {
    append(main, h('div', { class: 'empty' }, h('h1', {}, 'Not for you to edit'), h('p', {}, 'Your role is to look, or to start jobs as they are. ', h('a', { href: '#jobs' }, 'All jobs'))));
    return;
  }
  page = pages[name](main, parts, query) ?? {};
  scrollTo(0, 0);
}

addEventListener('hashchange', () => { if (location.hash !== shown) show(); });
addEventListener('beforeunload', event => { if (page?.unsaved?.()) event.preventDefault(); });

// Pages may have themselves drawn anew, once what was missing has come.
export const redraw = () => show();

// Pages may record their state in the address without being drawn again. Once somebody has gone elsewhere, which the page that is shown
// is told a moment later, the address is no longer the page's: to note it would undo the step.
export function note(hash) {
  if (location.hash !== shown) return;
  history.replaceState(history.state, '', hash);
  shown = location.hash;
}

// showUser shows who is logged in, and offers what he may do.
function showUser() {
  const user = store.info?.user;
  document.getElementById('new-job').hidden = !may('edit');
  const place = document.getElementById('user');
  place.hidden = !user;
  if (!user || place.dataset.shown === user.user + user.role) return;
  place.dataset.shown = user.user + user.role;
  replace(place, h('span', { class: 'user-name', title: `${user.user}: ${user.role}` }, user.user, h('small', { class: 'dim' }, ' ', user.role)),
    user.provenBy !== 'proxy' && button('Log out', logOut, 'small quiet'));
}

// logOut has the browser forget the password, which it does only when that is refused.
const logOut = () => { location.href = new URL('scheduler/logout', new URL('.', location.href)); };

const linkState = document.getElementById('link-state');

const outage = document.getElementById('outage');

// showOutage says on every page that what it shows is old.
function showOutage() {
  const { state, loaded, partial, since } = store;
  outage.hidden = state === 'live' || state === 'connecting' || state === 'lost' && (!loaded || partial);
  if (outage.dataset.shown === state + since) return;
  outage.dataset.shown = state + since;
  replace(outage, state === 'denied'
    ? ['Chronos does not take your password any more. ', button('Log in', () => location.reload(), 'small')]
    : state === 'lost' && [`No answer from Chronos since ${short(since)}. What you see is from then; changes wait until it is back.`]);
}

let pending = null, frame = 0;
watch(names => {
  linkState.className = 'link-state ' + store.state;
  linkState.textContent = store.partial && store.state === 'connecting' ? 'Loading …' : { live: 'Live', lost: 'Reconnecting …', connecting: 'Connecting …', denied: 'Logged out' }[store.state];
  showOutage();
  linkState.title = store.info ? `Leader: ${store.info.leader || 'none'}` : '';
  if (store.loaded) showUser();
  if (lacking) { show(); return; }
  pending = names === null || pending === null && frame ? null : new Set([...(pending ?? []), ...names]);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const names = pending;
    pending = new Set();
    page?.update?.(names);
  });
});

const shortcuts = [
  ['Ctrl+K', 'Go to a job or page, or do something with a job'], ['Ctrl+S', 'Save the job that is edited'], ['r', 'Run the job that is open, or at which the list is'], ['e', 'Edit it'], ['l d p', 'In the list: its log, disable, pause'],
  ['/', 'Search jobs'], ['↑ ↓', 'Move in the table'], ['Enter', 'Open the job'], ['Space', 'Select it'], ['Esc', 'Clear the selection, close'],
  ['n', 'New job'], ['o', 'Overview'], ['j', 'Jobs'], ['i', 'Grid'], ['t', 'Timeline'], ['u', 'Runs'], ['g', 'Graph'], ['a', 'Activity'], ['?', 'This list'],
];

function help() {
  dialog('Keyboard', () => h('div', { class: 'dialog-body' }, h('dl', { class: 'keys' },
    shortcuts.map(([key, text]) => [h('dt', {}, key.split(' ').map(k => h('kbd', {}, k))), h('dd', {}, text)]))));
}

document.addEventListener('pointerdown', event => { closeMenus(event.target.closest('details.menu')); });
document.addEventListener('click', event => { if (event.target.closest('.menu-items > *')) closeMenus(); });

document.addEventListener('keydown', event => {
  if (event.defaultPrevented || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.key === 'k' && (event.ctrlKey || event.metaKey) && store.loaded) { event.preventDefault(); openPalette(); return; }
  if (event.key === 'Escape' && closeMenus()) { event.preventDefault(); return; }
  const typing = event.target.closest('input, textarea, select, [contenteditable]');
  if ((event.key === 's' || !event.ctrlKey && !event.metaKey) && page?.key?.(event, Boolean(typing))) { event.preventDefault(); return; }
  if (typing || event.ctrlKey || event.metaKey) return;
  const go = { n: may('edit') && '#new', o: '#overview', j: '#jobs', g: '#graph', i: '#grid', t: '#timeline', u: '#runs', a: '#activity' }[event.key];
  if (go) location.hash = go;
  else if (event.key === '?') help();
  else if (event.key === '/') { sessionStorage.setItem('chronos.focus', 'search'); location.hash = '#jobs'; }
  else return;
  event.preventDefault();
});

document.getElementById('keys').addEventListener('click', help);
document.getElementById('theme').addEventListener('click', () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('chronos.theme', document.documentElement.dataset.theme); } catch { toast('The choice can’t be saved: the browser forbids storage.'); }
  dispatchEvent(new Event('themechange'));
});

try { sessionStorage.removeItem('chronos.attempt'); } catch { /* storage may be forbidden */ }
showWaiting(document.getElementById('waiting'));
show();
start();
