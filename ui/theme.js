// Runs before the first paint, so that the default scheme doesn't flash.
try {
  const chosen = localStorage.getItem('chronos.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden */ }
