// coloursOf returns what the names of colours stand for where an element is, for drawing. Custom properties with
// light-dark() are returned unresolved, and a colour property resolves them.
export function coloursOf(place) {
  const probe = document.createElement('span');
  place.append(probe);
  const resolve = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const colours = Object.fromEntries(['panel', 'soft', 'text', 'dim', 'line', 'accent', 'success', 'failure', 'running', 'queued', 'fresh'].map(n => [n, resolve(n)]));
  colours.font = getComputedStyle(place).getPropertyValue('font-family').trim() || 'sans-serif';
  probe.remove();
  return colours;
}

// whenRecoloured calls back when the scheme has changed, and returns what ends that.
export function whenRecoloured(listener) {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', listener);
  addEventListener('themechange', listener);
  return () => {
    dark.removeEventListener('change', listener);
    removeEventListener('themechange', listener);
  };
}
