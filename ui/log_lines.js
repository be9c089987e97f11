import { h } from './dom.js';

// What a terminal would make of a line: colours as ANSI says, and of what overwrote itself only the last.

const colours = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
const plainStyle = { colour: '', back: '', bold: false, faint: false, underline: false };

// palette returns one of the 256 colours of terminals.
function palette(n) {
  if (n < 16) return colours[n % 8];
  if (n >= 232) { const grey = 8 + (n - 232) * 10; return `rgb(${grey} ${grey} ${grey})`; }
  const level = v => v ? 55 + v * 40 : 0;
  return `rgb(${level(Math.floor((n - 16) / 36))} ${level(Math.floor((n - 16) / 6) % 6)} ${level((n - 16) % 6)})`;
}

// extended reads the colour after a 38 or 48, and returns it and how many codes it took.
function extended(codes, i) {
  if (codes[i + 1] === 5) return [palette(codes[i + 2] ?? 0), 2];
  if (codes[i + 1] === 2) return [`rgb(${codes[i + 2] ?? 0} ${codes[i + 3] ?? 0} ${codes[i + 4] ?? 0})`, 4];
  return ['', 0];
}

function restyle(style, codes) {
  let s = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const c = codes[i];
    if (c === 0) s = { ...plainStyle };
    else if (c === 1) s.bold = true;
    else if (c === 2) s.faint = true;
    else if (c === 4) s.underline = true;
    else if (c === 22) s.bold = s.faint = false;
    else if (c === 24) s.underline = false;
    else if (c >= 30 && c <= 37) s.colour = colours[c - 30];
    else if (c >= 90 && c <= 97) s.colour = colours[c - 90];
    else if (c === 39) s.colour = '';
    else if (c >= 40 && c <= 47) s.back = colours[c - 40];
    else if (c === 49) s.back = '';
    else if (c === 38 || c === 48) {
      const [colour, used] = extended(codes, i);
      s[c === 38 ? 'colour' : 'back'] = colour;
      i += used;
    }
  }
  return s;
}

function piece(text, s) {
  const classes = [s.bold && 'bold', s.faint && 'dim', s.underline && 'underline', colours.includes(s.colour) && 'ansi-' + s.colour, colours.includes(s.back) && 'ansi-on-' + s.back].filter(Boolean);
  if (!classes.length && !s.colour && !s.back) return text;
  const el = h('span', { class: classes.join(' ') }, text);
  if (s.colour.startsWith('rgb')) el.style.color = s.colour;
  if (s.back.startsWith('rgb')) el.style.backgroundColor = s.back;
  return el;
}

// Sequences for terminals: most colour, some move the cursor for example.
const sequences = /\x1b(?:\[([\d;:?]*)([@-~])|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;

// stripped leaves sequences out.
export const stripped = text => text.includes('\x1b') ? text.replace(sequences, '') : text;

// A Terminal turns lines into what is shown. A style lasts until it is changed, over many lines.
export class Terminal {
  style = { ...plainStyle };

  // show returns the pieces of a line.
  show(line) {
    const text = overwritten(line);
    if (!text.includes('\x1b')) return this.style === plainStyle ? [text] : [piece(text, this.style)];
    const pieces = [];
    let at = 0;
    for (const found of text.matchAll(sequences)) {
      if (found.index > at) pieces.push(piece(text.slice(at, found.index), this.style));
      at = found.index + found[0].length;
      if (found[2] === 'm') this.style = restyle(this.style, found[1].split(/[;:]/).map(Number));
    }
    if (at < text.length) pieces.push(piece(text.slice(at), this.style));
    return pieces;
  }
}

// overwritten returns the last of what was written over each other with \r.
export function overwritten(line) {
  const text = line.replace(/\r+$/, '');
  return text.slice(text.lastIndexOf('\r') + 1);
}

// isError tells lines that say something went wrong.
export const isError = text => /\b(errors?|fatal|exception|traceback|panic|critical)\b/i.test(text) && !/\b(0|no|without) (errors?|exceptions?)\b/i.test(text);
