import { s } from './dom.js';

// What the icons are drawn with, on 16 by 16.
const paths = {
  run: 'M5 3.5v9l7-4.5z', edit: 'M3 13l.6-2.8 7.2-7.2 2.2 2.2-7.2 7.2zM9.6 4.2l2.2 2.2', power: 'M8 2.5v5.5M4.6 4.6a4.8 4.8 0 1 0 6.8 0',
  kill: 'M4 4h8v8H4z', up: 'M3.5 10L8 5.5l4.5 4.5', down: 'M3.5 6L8 10.5 12.5 6', start: 'M3.5 3h9M3.5 11.5L8 7l4.5 4.5', end: 'M3.5 13h9M3.5 4.5L8 9l4.5-4.5',
  copy: 'M6 6h7v7H6zM3 10V3h7', download: 'M8 2.5v7M4.5 6.5L8 10l3.5-3.5M3 13h10', graph: 'M2.5 6h4v4h-4zM9.5 2.5h4v4h-4zM9.5 9.5h4v4h-4zM6.5 8h1.5M8 4.5v7M8 4.5h1.5M8 11.5h1.5',
};

// icon draws one, for the eyes only: what it stands for is said beside it.
export const icon = name => s('svg', { class: 'icon', viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': 'true', focusable: 'false' }, s('path', { d: paths[name] }));
