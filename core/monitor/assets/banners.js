// The banners: problems of the page's connection, and of the processes' store.

import { byId, setText } from './dom.js';
import { number, time } from './format.js';

// unseen returns the text that the other processes can't be seen, and since when.
function unseen({ alone, processes }) {
  const others = alone.others === 0 ? 'others publish' : alone.others === 1 ? 'the other process publishes' : `the ${number(alone.others)} other processes publish`;
  const words = [`Only this process is seen${alone.since ? ` since ${time(alone.since)}` : ''}: what ${others} can’t be read from Redis.`];
  const down = processes.some((p) => p.self && p.down?.length);
  if (down) words.push('It decides without Redis, as each policy says.');
  words.push(alone.since ? 'Figures since then are its own.' : 'All figures are its own.');
  return words.join(' ');
}

function cut({ processes }) {
  const down = processes.filter((p) => p.down?.length).length;
  if (!down) return '';
  return `${number(down)} of ${number(processes.length)} ${processes.length === 1 ? 'process' : 'processes'} ${down === 1 ? 'gets' : 'get'} no answer from a server of the store, and meanwhile ` +
    `${down === 1 ? 'decides' : 'decide'} without it, as each policy says.`;
}

export const banners = {
  // link records the connection's state, and reports whether it has changed.
  link(now, text) {
    const link = byId('link');
    const changed = link.dataset.state !== now;
    link.dataset.state = now;
    setText(link, now === 'lost' ? 'connection lost' : text);
    byId('lost').hidden = now !== 'lost';
    setText(byId('lost'), now === 'lost' ? text : '');
    return changed;
  },

  state(state) {
    byId('readonly').hidden = !state.readOnly;
    const source = byId('source');
    setText(source, state.alone ? 'only this process seen' : state.source === 'redis' ? 'all processes on this Redis' : 'this process only');
    source.classList.toggle('warn', Boolean(state.alone));
    const text = state.alone ? unseen(state) : cut(state);
    byId('down').hidden = text === '';
    setText(byId('down'), text);
  },
};
