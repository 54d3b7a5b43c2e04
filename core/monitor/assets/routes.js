// Routes: their requests in the last minute, or since the page was opened.

import { Table, byId, setText } from './dom.js';
import { number, percent } from './format.js';
import { decided, kinds, latest, passed } from './now.js';

const routes = new Table(byId('routes'), {
  label: 'Routes', columns: ['Route', '#Allowed', '#Denied', '#Share denied'], idOf: (r) => r.name,
  empty: 'No requests since this page was opened, or in the last minute.',
  cells: (made) => (r) => [r.name || 'not known', number(passed(r)), number(r.denied), percent(r.denied, decided(r))].forEach((text, i) => setText(made[i], text)),
});

export function showRoutes() {
  const all = new Map();
  for (const second of latest.seconds) {
    for (const [name, counts] of Object.entries(second.routes ?? {})) {
      const route = all.get(name) ?? { name };
      for (const [kind] of kinds) route[kind] = (route[kind] ?? 0) + (counts[kind] ?? 0);
      all.set(name, route);
    }
  }
  routes.show([...all.values()].sort((a, b) => b.denied - a.denied || decided(b) - decided(a)));
}
