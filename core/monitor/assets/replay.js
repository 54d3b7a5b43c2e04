// A replay of a key's log: its entries on a time line, and the count against the limit at each instant.
// The past is left of now. The right side is the future without further requests.

import { el, setText } from './dom.js';
import { number, time } from './format.js';

const width = 1000;
const height = 200;
const foot = 26; // where entries are drawn
const playing = 10_000; // duration of a replay in milliseconds

export class Replay {
  constructor() {
    this.following = true;
    this.limit = null;
    this.choice = el('select', { id: 'replay-limit', onchange: () => { this.limit = this.choice.value; this.draw(); } });
    this.chooser = el('label', { class: 'chooser' }, 'Against ', this.choice);
    this.play = el('button', { type: 'button', class: 'main', onclick: () => (this.timer ? this.stop() : this.start()) }, 'Play');
    this.follow = el('button', { type: 'button', hidden: true, onclick: () => { this.stop(); this.following = true; this.show(this.latest); } }, 'Back to now');
    this.slider = el('input', { type: 'range', step: 1, 'aria-label': 'Instant', oninput: () => { this.stop(); this.seek(Number(this.slider.value)); } });
    this.readout = el('p', { class: 'readout' });
    this.future = el('rect', { class: 'future', y: 0, height });
    this.banned = el('rect', { class: 'banned', y: 0, height });
    this.area = el('path', { class: 'area count' });
    this.max = el('line', { class: 'max', x1: 0, x2: width });
    this.marks = el('g');
    this.head = el('line', { class: 'head', y1: 0, y2: height });
    this.svg = el('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img',
      onpointerdown: (e) => { this.svg.setPointerCapture(e.pointerId); this.point(e); },
      onpointermove: (e) => { if (e.buttons) this.point(e); } },
    this.future, this.banned, this.area, this.max, this.marks, this.head);
    this.top = el('span', { class: 'peak' });
    this.axis = [el('span'), el('span'), el('span')];
    this.note = el('p', { class: 'muted' });
    this.rows = el('tbody');
    this.summary = el('summary');
    this.element = el('section', { class: 'replay', 'aria-labelledby': 'replay-title' },
      el('div', { class: 'bar' }, el('h2', { id: 'replay-title' }, 'The log, replayed'), this.chooser, el('div', { class: 'buttons' }, this.follow, this.play)),
      this.readout, el('div', { class: 'plot' }, this.top, this.svg), this.slider, el('p', { class: 'axis' }, ...this.axis), this.note,
      el('details', {}, this.summary, el('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Entries' },
        el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Time'), el('th', { scope: 'col', class: 'number' }, 'Taken'),
          el('th', { scope: 'col', class: 'number' }, 'Given back'))), this.rows))));
  }

  // show shows the current key. While an instant is selected, it only keeps the latest key for later.
  show(key) {
    this.latest = key;
    if (!this.following) return;
    this.key = key;
    // A log does not say when the units of a calendar limit came.
    const sliding = key.limits.filter((l) => !l.since);
    this.element.hidden = sliding.length === 0;
    if (this.element.hidden) return;
    const limits = sliding.map((l) => l.limit);
    if (this.choice.children.length !== limits.length || limits.some((l, i) => this.choice.children[i].value !== l)) {
      this.limit = limits.includes(this.limit) ? this.limit : key.limits.reduce((a, b) => (b.window > a.window ? b : a)).limit;
      this.choice.replaceChildren(...limits.map((l) => el('option', { value: l, selected: l === this.limit }, l)));
      this.chooser.hidden = limits.length < 2;
    }
    this.draw();
  }

  draw() {
    const { now, entries, limits, rules } = this.key;
    const { max, window } = limits.find((l) => l.limit === this.limit);
    this.window = window;
    this.from = now - Math.min(Math.max(...limits.map((l) => l.window)), 10 * window);
    this.to = now + this.window;
    this.limitMax = max;
    this.steps = steps(entries, this.window);

    const peak = Math.max(max, ...this.steps.map((s) => s.count)) * 1.15;
    const x = (t) => ((t - this.from) / (this.to - this.from)) * width;
    const y = (count) => height - foot - (count / peak) * (height - foot);
    let path = `M0 ${y(this.count(this.from))}`;
    for (const step of this.steps) {
      if (step.t > this.from && step.t < this.to) path += `H${x(step.t).toFixed(2)}V${y(step.count).toFixed(1)}`;
    }
    this.area.setAttribute('d', `${path}H${width}V${y(0)}H0Z`);
    for (const end of ['y1', 'y2']) this.max.setAttribute(end, y(max));
    this.future.setAttribute('x', x(now));
    this.future.setAttribute('width', width - x(now));
    const ban = (rules ?? []).find((r) => r.kind === 'ban' && r.until > now);
    this.banned.setAttribute('x', x(now));
    this.banned.setAttribute('width', ban ? Math.min(width, x(ban.until)) - x(now) : 0);
    this.marks.replaceChildren(...entries.filter((e) => e.t >= this.from).map((e) => el('path', {
      class: e.refund ? 'entry refund' : 'entry', 'data-t': e.t, 'data-cost': e.cost, 'data-refund': e.refund ?? 0,
      d: `M${x(e.t).toFixed(2)} ${height - foot + 5}V${height}`,
    })));

    setText(this.top, `${number(max)} at most`);
    const far = this.to - this.from > 12 * 3_600_000 ? (t) => new Date(t).toLocaleString('en-GB') : (t) => time(t);
    [far(this.from), `now ${time(now)}`, far(this.to)].forEach((text, i) => setText(this.axis[i], text));
    this.axis[1].style.left = `${x(now) / (width / 100)}%`;
    this.svg.setAttribute('aria-label', `${entries.length} entries between ${far(this.from)} and ${time(now)}; the slider below moves through them.`);
    setText(this.note, entries.length === 0 ? 'The log is empty: no request of this key still counts.'
      : `Bars below are the entries${this.key.lease ? ', each with what a process took for several requests' : ''}${entries.some((e) => e.refund) ? `, green ones are ${this.key.lease ? 'what it returned' : 'refunds'}` : ''}${ban ? '; the ban is shaded red' : ''}. ` +
        `Right of now: what comes if nobody asks again.${entries.length >= 500 ? ' Only the newest 500 entries are shown.' : ' What left the window before is not in the log any more.'}`);
    setText(this.summary, `Entries: ${entries.length}, newest first`);
    const ids = entries.map((e) => `${e.t} ${e.cost} ${e.refund}`).join();
    if (ids !== this.listed) {
      this.listed = ids;
      this.rows.replaceChildren(...entries.map((e) => el('tr', { 'data-t': e.t }, el('td', {}, time(e.t, true)),
        el('td', { class: 'number' }, e.cost ? number(e.cost) : ''), el('td', { class: 'number' }, e.refund ? number(e.refund) : ''))));
    }
    this.slider.min = this.from;
    this.slider.max = this.to;
    this.place(this.following ? now : Math.min(this.to, Math.max(this.from, this.at)));
  }

  // count returns the units used at a moment.
  count(t) {
    let count = 0;
    for (const step of this.steps) {
      if (step.t > t) break;
      count = step.count;
    }
    return count;
  }

  place(t) {
    this.at = t;
    const x = ((t - this.from) / (this.to - this.from)) * width;
    this.head.setAttribute('x1', x);
    this.head.setAttribute('x2', x);
    this.slider.value = t;
    const count = this.count(t);
    const text = `${number(count)} of ${number(this.limitMax)} ${this.key.unit ? `${this.key.unit} ` : ''}used at ${time(t, true)}${count >= this.limitMax ? ': full' : ''}`;
    setText(this.readout, text);
    this.slider.setAttribute('aria-valuetext', text);
    for (const mark of this.marks.children) mark.classList.toggle('later', Number(mark.dataset.t) > t);
    this.follow.hidden = this.following;
  }

  seek(t) {
    this.following = false;
    this.place(t);
  }

  point(e) {
    this.stop();
    const share = Math.min(1, Math.max(0, e.offsetX / this.svg.clientWidth));
    this.seek(Math.round(this.from + share * (this.to - this.from)));
  }

  start() {
    if (!this.key) return;
    const begun = performance.now();
    const from = this.following || this.at >= this.to ? this.from : this.at;
    setText(this.play, 'Pause');
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.timer = setInterval(() => {
      const t = from + ((performance.now() - begun) / playing) * (this.to - this.from);
      this.seek(Math.round(Math.min(t, this.to)));
      if (t >= this.to) this.stop();
    }, still ? 1000 : 50);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    setText(this.play, 'Play');
  }
}

// steps returns the moments at which the count changes: at an entry, and a window after it.
function steps(entries, window) {
  const changes = entries.flatMap((e) => {
    const units = e.cost - (e.refund ?? 0);
    return [[e.t, units], [e.t + window, -units]];
  }).sort((a, b) => a[0] - b[0]);
  let count = 0;
  return changes.map(([t, units]) => ({ t, count: Math.max(0, (count += units)) }));
}
