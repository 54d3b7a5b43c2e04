// How figures are written.

const whole = new Intl.NumberFormat('en');

export const number = (n) => whole.format(n);

export const rate = (n) => (n > 0 && n < 0.05 ? 'under 0.1' : n >= 10 || Number.isInteger(n) ? whole.format(Math.round(n)) : n.toFixed(1));

export function percent(part, all) {
  if (all === 0 || part === 0) return '0 %';
  const p = (100 * part) / all;
  return p < 1 ? 'under 1 %' : p > 99 && p < 100 ? 'over 99 %' : `${Math.round(p)} %`;
}

const units = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000]];

export function duration(ms) {
  if (ms < 9950) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  const i = units.findIndex(([, size]) => ms >= size);
  const [unit, size] = units[i];
  const [below, smaller] = units[i + 1] ?? ['s', 1000];
  const rest = Math.floor((ms % size) / smaller);
  return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${below}` : ''}`;
}

// latency is of seconds in milliseconds, with the figures that matter.
export const latency = (ms) => (ms == null ? '–' : ms < 10 ? `${ms.toFixed(2)} ms` : `${Math.round(ms)} ms`);

export function time(ms, exact = false) {
  const d = new Date(ms);
  const text = d.toLocaleTimeString('en-GB');
  return exact ? `${text}.${String(d.getMilliseconds()).padStart(3, '0')}` : text;
}

const windows = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };
const goUnits = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 1e-3, 'µs': 1e-3 };

// windowOf is the window of a limit such as "5/minute" or "5/1m30s", in milliseconds.
export function windowOf(limit) {
  const text = limit.slice(limit.indexOf('/') + 1);
  if (windows[text]) return windows[text];
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/([\d.]+)(ms|us|µs|[dhms])/g)) sum += n * goUnits[unit];
  return sum || 1000;
}
