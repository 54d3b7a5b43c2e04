// Policies. Those with requests have a chart each, the most denied first. The others have a line each.

import { override, restore } from './actions.js';
import { Chart, Series } from './chart.js';
import { Keeper, Table, byId, el, setText } from './dom.js';
import { limitText, number, percent } from './format.js';
import { get } from './live.js';
import { decided, hasSlots, latest, passed } from './now.js';

let series = null;

const minutes = () => document.querySelector('input[name=minutes]:checked').value;

// Seconds update the five minutes. The hour is fetched again at intervals.
export async function loadHistory() {
  const wanted = minutes();
  try {
    const history = await get('./api/history', { minutes: wanted });
    if (wanted !== minutes()) return;
    series = new Series(history, wanted);
    for (const second of latest.seconds) series.add(second);
    showPolicies();
    drawCharts();
  } catch {
    // The banner of the connection shows the error.
  }
}

document.querySelectorAll('input[name=minutes]').forEach((choice) => choice.addEventListener('change', loadHistory));
document.addEventListener('visibilitychange', () => { if (!document.hidden) loadHistory(); });
setInterval(() => { if (!document.hidden && minutes() === '60') loadHistory(); }, 10_000);

export function showSecondOfPolicies(second) {
  series?.add(second);
  if (series && Object.keys(second.policies).some((name) => !busy.kept.has(name))) showPolicies();
}

export function drawCharts() {
  if (!series) return;
  for (const { chart } of busy.kept.values()) chart.show(series);
}

// buttons returns the actions on a policy's limits.
function buttons(name, now) {
  const named = (text, act) => el('button', { type: 'button', onclick: act }, text, el('span', { class: 'unseen' }, ` the limits of ${name}`));
  const change = named('Override…', () => override(name, now().limits, hasSlots(now())));
  const back = named('Restore…', () => restore(name));
  const update = (p) => {
    change.hidden = latest.state.readOnly;
    back.hidden = latest.state.readOnly || !p.overridden;
  };
  return { element: el('div', { class: 'buttons' }, change, back), update };
}

const wordsOf = (p) => [...(p.limits ?? []).map((l) => [limitText(l, hasSlots(p)), 'limit']), p.unit && [`counts ${p.unit}`], p.overridden && ['overridden', 'warn'], p.shadow && ['shadow: denies nothing', 'warn'], p.off && ['off: counts nothing', 'warn']].filter(Boolean);

function showTags(tags, words) {
  if (tags.textContent !== words.map(([w]) => w).join('')) tags.replaceChildren(...words.map(([w, kind = '']) => el('span', { class: `tag ${kind}` }, w)));
}

function minuteOf(p) {
  const all = decided(p);
  if (!all) return 'No requests in the last minute.';
  const parts = [
    `${number(p.allowed)} allowed`, `${number(p.denied)} denied (${percent(p.denied, all)})`,
    p.shadowDenied && `${number(p.shadowDenied)} would be denied`, p.overloaded && `${number(p.overloaded)} overloaded`,
    p.error && `${number(p.error)} without a decision`,
    p.by.lease && `${number(p.by.lease)} of them from leases`,
    p.by.fallback && `${number(p.by.fallback)} of them decided by a process alone`, p.by.open && `${number(p.by.open)} of them let pass without the store`,
    `${number(p.nearLimit)} ${p.nearLimit === 1 ? 'key' : 'keys'} near the limit`,
  ];
  return `Last minute: ${parts.filter(Boolean).join(' · ')}`;
}

const busy = new Keeper(byId('policies'), (p) => p.name, ({ name }) => {
  let now;
  const tags = el('p', { class: 'tags' });
  const counts = el('p', { class: 'counts' });
  const chart = new Chart(name);
  const act = buttons(name, () => now);
  const element = el('article', { class: 'policy', 'data-policy': name },
    el('div', { class: 'bar' }, el('h3', {}, name), tags, act.element), chart.element, counts);
  return {
    element, chart,
    update(p) {
      if (!now && series) chart.show(series);
      now = p;
      showTags(tags, [...wordsOf(p), [`without the store: ${p.failure === 'default' ? 'as the limiter' : p.failure}`], !hasSlots(p) && [`${p.layout} log`]].filter(Boolean));
      setText(counts, minuteOf(p));
      act.update(p);
    },
  };
});

const idle = new Table(byId('idle'), {
  label: 'Policies without requests', columns: ['Policy', 'Limits', ''], idOf: (p) => p.name, empty: '',
  cells([name, limits, act], { name: text }) {
    let now;
    act.className = 'number';
    const tags = el('p', { class: 'tags' });
    limits.append(tags);
    const offered = buttons(text, () => now);
    act.append(offered.element);
    return (p) => {
      now = p;
      name.parentElement.dataset.policy = p.name;
      setText(name, p.name);
      showTags(tags, wordsOf(p));
      offered.update(p);
    };
  },
});

const noPolicies = el('p', { class: 'empty' }, 'No policy yet. One appears here when a route with a limit is set up, or with its first request: limiter.Register(policy) shows it earlier.');
byId('policies').after(noPolicies);

export function showPolicies() {
  const all = latest.state.policies;
  const shown = all.filter((p) => decided(p) || series?.has(p.name))
    .sort((a, b) => b.denied - a.denied || passed(b) - passed(a) || (a.name < b.name ? -1 : 1));
  const others = all.filter((p) => !shown.includes(p));
  noPolicies.hidden = all.length > 0;
  busy.show(shown);
  byId('idle-section').hidden = others.length === 0;
  setText(byId('idle-title'), `Without requests in the last ${minutes() === '60' ? 'hour' : '5 minutes'}: ${number(others.length)}`);
  idle.show(others);
}
