import { h } from './dom.js';
import { same } from './api.js';

// changes lists the keys in which two documents differ, each with an element that shows the difference.
export function changes(before, after, heading = 'h3') {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(key => !same(before[key], after[key])).map(key => ({
    key, element: h('div', { class: 'change' }, h(heading, {}, key), h('pre', { class: 'diff', tabindex: 0, 'aria-label': 'Change of ' + key }, lines(show(before[key]), show(after[key])))),
  }));
}

function show(value) {
  if (value === undefined) return [];
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  return text === '' ? ['(empty)'] : text.split('\n');
}

function lines(a, b) {
  return compare(a, b).map(([kind, text]) => h(kind === '-' ? 'del' : kind === '+' ? 'ins' : 'span', {}, `${kind} ${text}\n`));
}

// compare finds the longest common lines of two short texts.
function compare(a, b) {
  if (a.length * b.length > 4e6) return [...a.map(t => ['-', t]), ...b.map(t => ['+', t])];
  const longest = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  }
  const out = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { out.push([' ', a[i]]); i++; j++; }
    else if (j === b.length || i < a.length && longest[i + 1][j] >= longest[i][j + 1]) out.push(['-', a[i++]]);
    else out.push(['+', b[j++]]);
  }
  return out;
}
