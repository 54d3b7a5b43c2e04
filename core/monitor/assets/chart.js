// A chart of requests a second: five stacked areas, a strip for decisions without the store, and the figures at one
// moment.

import { el, setText } from './dom.js';
import { rate, time } from './format.js';
import { alone, kinds } from './now.js';

const width = 600;
const height = 120;

const shown = [...kinds, ['alone', 'without the store']];
const rows = shown.map(([kind]) => kind);

// Series holds one history response, and moves on with the seconds that follow.
export class Series {
  constructor({ from, step, policies }, minutes) {
    this.step = step;
    this.first = Math.floor(from / step);
    this.length = (minutes * 60_000) / step;
    this.policies = policies;
  }

  // add adds a second, if the step is one second.
  add({ t, policies }) {
    const at = Math.floor(t / this.step);
    const ahead = at - (this.first + this.length - 1);
    if (this.step !== 1000 || ahead < -this.length) return;
    for (const name of Object.keys(policies)) this.policies[name] ??= {};
    for (const [name, policy] of Object.entries(this.policies)) {
      for (const kind of rows) {
        const counts = (policy[kind] ??= new Array(this.length).fill(0));
        for (let i = 0; i < Math.min(ahead, this.length); i++) { counts.shift(); counts.push(0); }
        const i = at - this.first - Math.max(0, ahead);
        if (i >= 0) counts[i] = (kind === 'alone' ? alone(policies[name]) : policies[name]?.[kind]) ?? 0;
      }
    }
    this.first += Math.max(0, ahead);
  }

  // of returns the rates of a policy, by step.
  of(name, kind) {
    const counts = this.policies[name]?.[kind] ?? [];
    return Array.from({ length: this.length }, (_, i) => ((counts[i] ?? 0) * 1000) / this.step);
  }

  // has reports whether a policy has any requests.
  has(name) { return kinds.some(([kind]) => this.policies[name]?.[kind]?.some((n) => n > 0)); }

  moment(i) { return (this.first + i) * this.step; }
}

export class Chart {
  constructor(name) {
    this.name = name;
    this.at = null; // the selected moment, as an index in the series
    this.areas = kinds.map(([kind]) => el('path', { class: `area ${kind}` }));
    this.strip = el('path', { class: 'strip' });
    this.cross = el('line', { class: 'cross', y1: 0, y2: height, visibility: 'hidden' });
    this.svg = el('svg', {
      viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', tabindex: '0',
      onpointermove: (e) => this.point(e.offsetX / this.svg.clientWidth),
      onpointerleave: () => this.point(null),
      onblur: () => this.point(null),
      onkeydown: (e) => this.key(e),
    }, el('line', { class: 'grid', x2: width, y1: height / 2, y2: height / 2 }), ...this.areas, this.strip, this.cross);
    this.top = el('span', { class: 'peak' });
    this.from = el('span');
    this.when = el('span', { class: 'when' });
    this.figures = shown.map(() => el('dd'));
    this.legend = el('dl', { class: 'legend' },
      ...shown.map(([kind, text], i) => el('div', { class: kind }, el('dt', {}, text), this.figures[i])));
    this.element = el('figure', { class: 'chart' }, el('div', { class: 'plot' }, this.top, this.svg),
      el('p', { class: 'axis' }, this.from, this.when, el('span', {}, 'now')), this.legend);
  }

  show(series) {
    this.series = series;
    const rates = kinds.map(([kind]) => series.of(this.name, kind));
    const n = series.length;
    const sums = new Array(n).fill(0);
    const tops = rates.map((r) => r.map((v, i) => (sums[i] += v)));
    const peak = nice(Math.max(1, ...sums));
    const x = (i) => (n < 2 ? 0 : (i * width) / (n - 1)).toFixed(1);
    const y = (v) => (height - (v * (height - 2)) / peak).toFixed(1);
    tops.forEach((top, k) => {
      const any = rates[k].some((v) => v > 0);
      const under = k === 0 ? sums.map(() => 0) : tops[k - 1];
      const there = top.map((v, i) => `${x(i)} ${y(v)}`);
      const back = under.map((v, i) => `${x(i)} ${y(v)}`).reverse();
      this.areas[k].setAttribute('d', any ? `M${there.join('L')}L${back.join('L')}Z` : '');
      this.legend.children[k].hidden = k > 1 && !any;
    });
    const without = series.of(this.name, 'alone');
    const half = width / (2 * (n - 1));
    this.strip.setAttribute('d', without.map((v, i) => (v > 0 ? `M${(Number(x(i)) - half).toFixed(1)} ${height - 3}h${(2 * half).toFixed(1)}` : '')).join(''));
    this.legend.children[kinds.length].hidden = !without.some((v) => v > 0);
    rates.push(without);
    setText(this.top, `${rate(peak)}/s`);
    setText(this.from, n * series.step > 600_000 ? '1 hour ago' : '5 minutes ago');
    this.rates = rates;
    this.figure();
  }

  figure() {
    const n = this.series.length;
    if (n === 0) return;
    const i = Math.max(0, Math.min(n - 1, this.at ?? n - 1));
    shown.forEach((_, k) => setText(this.figures[k], `${rate(this.rates[k][i])}/s`));
    setText(this.when, this.at === null ? '' : time(this.series.moment(i)));
    const x = n < 2 ? 0 : (i * width) / (n - 1);
    this.cross.setAttribute('x1', x);
    this.cross.setAttribute('x2', x);
    this.cross.setAttribute('visibility', this.at === null ? 'hidden' : 'visible');
    const said = shown.map(([, text], k) => [text, this.rates[k][i]]).filter(([, v], k) => k < 2 || v > 0);
    this.svg.setAttribute('aria-label', `${this.name}, requests a second ${this.at === null ? 'now' : `at ${time(this.series.moment(i))}`}: ` +
      `${said.map(([text, v]) => `${rate(v)} ${text}`).join(', ')}. Arrow keys move in time.`);
  }

  point(share) {
    this.at = share === null ? null : Math.round(share * (this.series.length - 1));
    this.figure();
  }

  key(e) {
    const last = this.series.length - 1;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[e.key];
    if (e.key === 'Escape') this.at = null;
    else if (e.key === 'Home') this.at = 0;
    else if (e.key === 'End') this.at = last;
    else if (step) this.at = Math.max(0, Math.min(last, (this.at ?? last) + step));
    else return;
    e.preventDefault();
    this.figure();
  }
}

// nice returns the next round figure that is at least v.
export function nice(v) {
  const ten = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 3, 4, 5, 6, 8, 10].find((m) => m * ten >= v) * ten;
}
