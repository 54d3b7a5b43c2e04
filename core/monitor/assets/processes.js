// The processes that were seen within the hour.

import { Table, byId, setText } from './dom.js';
import { duration, latency, rate, time } from './format.js';
import { latest } from './now.js';

const processes = new Table(byId('processes'), {
  label: 'Processes', columns: ['Process', 'Store', '#Requests a second', '#Decision, median', '#99 of 100', '#Last active'], idOf: (p) => p.id,
  empty: 'No process yet. Each one with a recorder shows up here within seconds.',
  cells: (made) => (p) => {
    const { state } = latest;
    const unseen = state.alone && !p.self;
    const down = (p.down ?? []).map((d) => `${d.server || 'the store'} has not answered for ${duration(state.now - d.since)}: ${d.error}`);
    made[1].className = unseen || down.length ? 'wrong' : '';
    const store = unseen ? `not seen since ${time(state.alone.since)}` : down.join('; ') || `${p.store}, answers`;
    [`${p.host}, ${p.pid}${p.self ? ' (this one)' : ''}`, store, unseen ? '–' : `${rate(p.rate)}/s`, unseen ? '–' : latency(p.p50), unseen ? '–' : latency(p.p99), `${duration(state.now - p.seen)} ago`]
      .forEach((text, i) => setText(made[i], text));
  },
});

export const showProcesses = () => processes.show([...latest.state.processes].sort((a, b) => Boolean(b.self) - Boolean(a.self)));
