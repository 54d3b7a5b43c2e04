// The page: what the server sends goes to the parts that show it.

import { Chart, Series, kinds } from './chart.js';
import { Keeper, Table, byId, el, setText } from './dom.js';
import { duration, latency, number, percent, rate } from './format.js';
import { connect, get } from './live.js';
import { keyLink, keyPage } from './key.js';
import { override, restore, unban } from './actions.js';

let state = { now: Date.now(), policies: [], processes: [], rules: [] };
let ahead = 0; // of the server's clock, milliseconds
let series = null;
const seconds = []; // the last ones, newest last

const serverNow = () => Date.now() + ahead;
const sum = (items, of) => items.reduce((all, item) => all + (of(item) ?? 0), 0);
const decided = (p) => sum(kinds, ([kind]) => p[kind]);
const refused = (p) => p.denied ?? 0;

// The connection.

connect({
  event(name, data) {
    if (name === 'state') showState(data);
    else showSecond(data);
  },
  link(now, text) {
    const link = byId('link');
    if (link.dataset.state !== now && now === 'live') loadHistory();
    link.dataset.state = now;
    setText(link, now === 'lost' ? 'connection lost' : text);
    byId('lost').hidden = now !== 'lost';
    setText(byId('lost'), now === 'lost' ? text : '');
  },
});

// History: seconds move the five minutes on, the hour is fetched again now and then.

const minutes = () => document.querySelector('input[name=minutes]:checked').value;

async function loadHistory() {
  const wanted = minutes();
  try {
    const history = await get('./api/history', { minutes: wanted });
    if (wanted !== minutes()) return;
    series = new Series(history, wanted);
    for (const second of seconds) series.add(second);
    drawCharts();
  } catch {
    // The connection says what is wrong.
  }
}

document.querySelectorAll('input[name=minutes]').forEach((choice) => choice.addEventListener('change', loadHistory));
document.addEventListener('visibilitychange', () => { if (!document.hidden) loadHistory(); });
setInterval(() => { if (!document.hidden && minutes() === '60') loadHistory(); }, 10_000);

// Seconds.

function showSecond(second) {
  const again = seconds.findIndex((s) => s.t === second.t);
  if (again >= 0) seconds[again] = second;
  else seconds.push(second);
  while (seconds.length > 60) seconds.shift();
  series?.add(second);
  if (document.hidden) return;
  drawCharts();
  drawTiles();
  topDenied.show(second.top?.denied ?? []);
  topAllowed.show(second.top?.allowed ?? []);
  drawRoutes();
}

function drawCharts() {
  if (!series) return;
  for (const { chart } of policies.kept.values()) chart.show(series);
}

const tiles = new Keeper(byId('tiles'), (tile) => tile.name, ({ name }) => {
  const value = el('dd');
  const note = el('dd', { class: 'note' });
  const element = el('div', {}, el('dt', {}, name), value, note);
  return { element, update(tile) { setText(value, tile.value); setText(note, tile.note); element.className = tile.kind ?? ''; } };
});

function drawTiles() {
  const last = seconds.slice(-5);
  const mean = (kind) => sum(last, (s) => sum(Object.values(s.policies), (p) => p[kind])) / Math.max(1, last.length);
  const minute = sum(state.policies, decided);
  const denied = sum(state.policies, refused);
  const failed = sum(state.policies, (p) => p.fallback + p.error);
  const near = sum(state.policies, (p) => p.nearLimit);
  const down = state.processes.filter((p) => p.down?.length).length;
  tiles.show([
    { name: 'Allowed', value: `${rate(mean('allowed'))}/s`, note: 'over 5 seconds', kind: 'allowed' },
    { name: 'Denied', value: `${rate(mean('denied'))}/s`, note: `${percent(denied, minute)} of the last minute`, kind: 'denied' },
    { name: 'Near their limit', value: number(near), note: near === 1 ? 'key' : 'keys' },
    { name: 'Without the store', value: number(failed), note: 'in the last minute', kind: failed ? 'trouble' : '' },
    { name: 'Processes', value: number(state.processes.length), note: down ? `${down} can’t reach their store` : 'all reach their store', kind: down ? 'trouble' : '' },
  ]);
}

// Policies.

const policies = new Keeper(byId('policies'), (p) => p.name, ({ name }) => {
  let now;
  const tags = el('p', { class: 'tags' });
  const counts = el('p', { class: 'counts' });
  const change = el('button', { type: 'button', onclick: () => override(name, now.limits) }, 'Override…', el('span', { class: 'unseen' }, ` the limits of ${name}`));
  const back = el('button', { type: 'button', onclick: () => restore(name) }, 'Restore…', el('span', { class: 'unseen' }, ` the limits of ${name}`));
  const chart = new Chart(name);
  const element = el('article', { class: 'policy', 'data-policy': name },
    el('div', { class: 'bar' }, el('h3', {}, name), tags, el('div', { class: 'buttons' }, change, back)), chart.element, counts);
  return {
    element, chart,
    update(p) {
      if (!now && series) chart.show(series);
      now = p;
      const words = [...p.limits.map((l) => [l, 'limit']), p.overridden && ['overridden', 'warn'], p.shadow && ['shadow: denies nothing', 'warn'],
        [`without the store: ${p.failure === 'default' ? 'as the limiter' : p.failure}`], [`${p.layout} log`]].filter(Boolean);
      if (tags.textContent !== words.map(([w]) => w).join('')) tags.replaceChildren(...words.map(([w, kind = '']) => el('span', { class: `tag ${kind}` }, w)));
      const all = decided(p);
      const parts = [`${number(p.allowed)} allowed`, `${number(p.denied)} denied (${percent(p.denied, all)})`,
        p.shadowDenied && `${number(p.shadowDenied)} would be denied`, p.fallback && `${number(p.fallback)} decided without the store`,
        p.error && `${number(p.error)} without a decision`, `${number(p.nearLimit)} ${p.nearLimit === 1 ? 'key' : 'keys'} near the limit`];
      setText(counts, all ? `Last minute: ${parts.filter(Boolean).join(' · ')}` : 'No requests in the last minute.');
      change.hidden = state.readOnly;
      back.hidden = state.readOnly || !p.overridden;
    },
  };
});

const noPolicies = el('p', { class: 'empty' }, 'No policy yet. One appears here when a route with a limit is set up, or with its first request: limiter.Meet(policy) shows it earlier.');
byId('policies').after(noPolicies);

function showState(now) {
  state = now;
  ahead = state.now - Date.now();
  noPolicies.hidden = state.policies.length > 0;
  policies.show(state.policies);
  processes.show(state.processes);
  drawTiles();
  drawRules();
  byId('readonly').hidden = !state.readOnly;
  setText(byId('source'), state.source === 'redis' ? 'all processes on this Redis' : 'this process only');
  const down = state.processes.filter((p) => p.down?.length);
  byId('down').hidden = down.length === 0;
  setText(byId('down'), down.length && `${down.length} of ${state.processes.length} processes ${down.length === 1 ? 'gets' : 'get'} no answer from the store, and meanwhile ${down.length === 1 ? 'does' : 'do'} what each policy is set to do without it.`);
  dispatchEvent(new CustomEvent('state', { detail: state }));
}

// Keys, routes, rules, processes.

const keyCells = (count) => ([key, policy, n]) => {
  const link = el('a');
  const bar = el('span', { class: 'share' });
  const figure = el('span');
  key.append(link);
  n.append(figure, bar);
  return (item) => {
    setText(link, item.name || item.key);
    link.href = keyLink(item.policy, item.key);
    setText(policy, item.policy);
    setText(figure, count(item));
    bar.style.width = `${Math.round(100 * (item.share ?? 0))}%`;
  };
};

const keyId = (item) => JSON.stringify([item.policy, item.key]);
const counted = (item) => (item.error ? `${number(item.count)} (up to ${number(item.error)} less)` : number(item.count));

function topTable(id, label, empty) {
  const table = new Table(byId(id), { label, columns: ['Key', 'Policy', '#Requests'], empty, idOf: keyId, cells: keyCells(counted) });
  return { show: (items) => table.show(items.map((item) => ({ ...item, share: item.count / items[0].count }))) };
}

const topDenied = topTable('top-denied', 'Keys denied most', 'Nobody is denied at the moment.');
const topAllowed = topTable('top-allowed', 'Keys allowed most', 'No requests lately. Send one to a route that has a limit.');

const routes = new Table(byId('routes'), {
  label: 'Routes', columns: ['Route', '#Allowed', '#Denied', '#Share denied'], idOf: (r) => r.name,
  empty: 'No requests since this page was opened, or in the last minute.',
  cells: (made) => (r) => [r.name || 'not known', number(r.allowed), number(r.denied), percent(r.denied, decided(r))].forEach((text, i) => setText(made[i], text)),
});

function drawRoutes() {
  const all = new Map();
  for (const second of seconds) {
    for (const [name, counts] of Object.entries(second.routes ?? {})) {
      const route = all.get(name) ?? { name };
      for (const [kind] of kinds) route[kind] = (route[kind] ?? 0) + (counts[kind] ?? 0);
      all.set(name, route);
    }
  }
  routes.show([...all.values()].sort((a, b) => decided(b) - decided(a)));
}

const rules = new Table(byId('rules'), {
  label: 'Rules in force', columns: ['Rule', 'For', 'Ends', ''], idOf: (r) => r.id,
  empty: 'None: every policy has its own limits, and nobody is banned. A key’s page can ban it.',
  cells([kind, whom, until, act], rule) {
    act.className = 'number';
    const end = () => (rule.kind === 'ban' ? unban(rule.key) : restore(rule.policy));
    const button = el('button', { type: 'button', onclick: end }, rule.kind === 'ban' ? 'Unban…' : 'Restore…',
      el('span', { class: 'unseen' }, ` ${rule.key || rule.policy}`));
    if ((rule.kind === 'ban' && rule.key) || rule.kind === 'override') act.append(button);
    return (r) => {
      setText(kind, r.kind);
      setText(whom, r.kind === 'override' ? `${r.policy}: ${r.limits.join(', ')}` : r.key || r.network);
      setText(until, r.until ? `in ${duration(r.until - serverNow())}` : 'never');
      button.hidden = state.readOnly;
    };
  },
});

const drawRules = () => rules.show((state.rules ?? []).filter((r) => !r.until || r.until > serverNow()));
setInterval(drawRules, 1000);

const processes = new Table(byId('processes'), {
  label: 'Processes', columns: ['Process', 'Store', '#Requests a second', '#Decision, median', '#99 of 100', '#Last active'], idOf: (p) => p.id,
  empty: 'No process yet. Each one with a recorder shows up here within seconds.',
  cells: (made) => (p) => {
    const down = (p.down ?? []).map((d) => `${d.server || 'the store'} has not answered for ${duration(state.now - d.since)}: ${d.error}`);
    made[1].className = down.length ? 'wrong' : '';
    [`${p.host}, ${p.pid}`, down.join('; ') || `${p.store}, answers`, `${rate(p.rate)}/s`, latency(p.p50), latency(p.p99), `${duration(state.now - p.seen)} ago`]
      .forEach((text, i) => setText(made[i], text));
  },
});

// Search.

const found = new Table(byId('found-keys'), {
  label: 'Keys found', columns: ['Key', 'Policy', '#Allowed, denied'], idOf: keyId,
  empty: 'No key like this has made a request lately. Its log can be opened all the same:',
  cells: keyCells((item) => `${number(item.allowed)}, ${number(item.denied)}`),
});
const guesses = el('p', { class: 'tags' });
byId('found-keys').append(guesses);

let typed;
byId('search').addEventListener('submit', (e) => { e.preventDefault(); search(); });
byId('q').addEventListener('input', () => { clearTimeout(typed); typed = setTimeout(search, 200); });

async function search() {
  clearTimeout(typed);
  const q = byId('q').value.trim();
  byId('found').hidden = q === '';
  if (q === '') return;
  try {
    const { keys } = await get('./api/search', { q });
    if (byId('q').value.trim() !== q) return;
    const most = Math.max(1, ...keys.map((k) => k.allowed + k.denied));
    found.show(keys.map((k) => ({ ...k, share: (k.allowed + k.denied) / most })));
    guesses.replaceChildren(...(keys.length ? [] : state.policies.map((p) => el('a', { class: 'tag', href: keyLink(p.name, q) }, `under ${p.name}`))));
  } catch {
    // The connection says what is wrong.
  }
}

// Which page: the overview, or a key's.

const key = keyPage(byId('key'), serverNow);

byId('skip').addEventListener('click', (e) => { e.preventDefault(); byId('main').focus(); });

function route() {
  const [, policy, name] = location.hash.match(/^#\/key\/([^/]*)\/(.*)$/) ?? [];
  byId('overview').hidden = policy !== undefined;
  byId('found').hidden = true;
  byId('q').value = '';
  const text = (part) => { try { return decodeURIComponent(part); } catch { return part; } };
  key.open(policy === undefined ? null : { policy: text(policy), key: text(name) });
  if (policy === undefined) document.title = 'Rate limits';
}

addEventListener('hashchange', () => { route(); byId('main').focus(); scrollTo(0, 0); });
route();
