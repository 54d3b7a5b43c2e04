// The summary figures. A request counts once, for any number of policies.

import { Keeper, byId, el, setText } from './dom.js';
import { number, percent, rate, time } from './format.js';
import { alone, decided, latest, passed, sum } from './now.js';

const tiles = new Keeper(byId('tiles'), (tile) => tile.name, ({ name }) => {
  const value = el('dd');
  const note = el('dd', { class: 'note' });
  const element = el('div', { 'data-tile': name }, el('dt', {}, name), value, note);
  return { element, update(tile) { setText(value, tile.value); setText(note, tile.note); element.className = tile.kind ?? ''; } };
});

const averaged = 5; // seconds, fewer on a page that was opened just now

function processes({ processes: all, alone: unseen }) {
  if (unseen) {
    const others = `${number(unseen.others)} ${unseen.others === 1 ? 'other' : 'others'} not seen`;
    return { name: 'Processes', value: '1', note: unseen.since ? `${others} since ${time(unseen.since)}` : others, kind: 'trouble' };
  }
  const down = all.filter((p) => p.down?.length).length;
  const note = down ? `${number(down)} can’t reach a server of the store` : 'seen within the hour';
  return { name: 'Processes', value: number(all.length), note, kind: down ? 'trouble' : '' };
}

export function drawTiles() {
  const { state, seconds } = latest;
  const last = seconds.slice(-averaged);
  const mean = (of) => sum(last, (s) => of(s.requests)) / Math.max(1, last.length);
  const here = state.alone ? 'by this process alone' : '';
  const long = state.alone && state.now - state.alone.since > 60_000; // otherwise the last minute has figures of others
  const minute = state.requests ?? {};
  const without = sum(state.policies, alone);
  const none = sum(state.policies, (p) => p.error + p.overloaded);
  const near = sum(state.policies, (p) => p.nearLimit);
  tiles.show([
    { name: 'Allowed', value: `${rate(mean(passed))}/s`, note: here || `over ${last.length} ${last.length === 1 ? 'second' : 'seconds'}`, kind: 'allowed' },
    { name: 'Denied', value: `${rate(mean((r) => r?.denied))}/s`, note: `${percent(minute.denied ?? 0, decided(minute))} of the last minute${long ? `, ${here}` : ''}`, kind: 'denied' },
    { name: 'Near their limit', value: number(near), note: near === 1 ? 'key' : 'keys' },
    { name: 'Without the store', value: number(without), note: `decisions in the last minute${none ? `; ${number(none)} more failed` : ''}`, kind: without || none ? 'trouble' : '' },
    processes(state),
  ]);
}
