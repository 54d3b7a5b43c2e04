// The formats of figures.

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

// latency formats milliseconds with the significant digits.
export const latency = (ms) => (ms == null ? '–' : ms < 10 ? `${ms.toFixed(2)} ms` : `${Math.round(ms)} ms`);

export function time(ms, exact = false) {
  const d = new Date(ms);
  const text = d.toLocaleTimeString('en-GB');
  return exact ? `${text}.${String(d.getMilliseconds()).padStart(3, '0')}` : text;
}

// moment is a time with its date.
export const moment = (ms) => `${new Date(ms).toLocaleDateString('en-GB')} ${time(ms)}`;

const holds = { second: '1s', minute: '1m', hour: '1h', day: '24h' };

// limitText formats a limit. The limit of a concurrency policy is a number of slots and their hold.
export function limitText(limit, slots) {
  if (!slots) return limit;
  const [max, hold] = limit.split('/');
  return `${max} in flight, hold ${holds[hold] ?? hold}`;
}

// estimate formats a count with its possible error.
export const estimate = (count, error) => (error ? `about ${whole.format(count)} (± ${whole.format(error)})` : whole.format(count));
