// The rules in force, and the actions that make and end them.

import { block, exempt, nameOf, restore, switchOn, switchTo, unban, unblock, unexempt } from './actions.js';
import { Table, byId, el, setText } from './dom.js';
import { duration, limitText, number } from './format.js';
import { hasSlots, latest, serverNow } from './now.js';

const ends = {
  ban: ['Unban…', (r) => unban(r.key)],
  block: ['Unblock…', (r) => unblock(r.key || r.network)],
  exempt: ['End…', (r) => unexempt(r.key || r.network)],
  override: ['Restore…', (r) => restore(r.policy)],
  switch: ['Switch on…', (r) => switchOn(r.policy)],
};

function about(r) {
  if (r.kind === 'override') {
    const slots = hasSlots(latest.state.policies.find((p) => p.name === r.policy));
    return `${r.policy}: ${r.limits.map((l) => limitText(l, slots)).join(', ')}`;
  }
  if (r.kind === 'switch') return `${nameOf(r.policy)}: ${r.mode}`;
  return r.key || r.network;
}

const rules = new Table(byId('rules'), {
  label: 'Rules in force', columns: ['Rule', 'For', 'Ends', ''], idOf: (r) => r.id,
  empty: 'None: every policy has its own limits, no policy is switched, and no client is banned, blocked or exempt.',
  cells([kind, whom, until, act], rule) {
    act.className = 'number';
    const [text, end] = ends[rule.kind] ?? [];
    const button = el('button', { type: 'button', onclick: () => end(rule) }, text, el('span', { class: 'unseen' }, ` ${rule.key || rule.network || nameOf(rule.policy)}`));
    if (end && !(rule.kind === 'ban' && !rule.key)) act.append(button);
    return (r) => {
      setText(kind, r.kind);
      setText(whom, about(r));
      setText(until, r.until ? `in ${duration(r.until - serverNow())}` : 'never');
      button.hidden = latest.state.readOnly;
    };
  },
});

const add = byId('rules-add');
const changeMode = () => switchTo(latest.state.policies.map((p) => p.name));
add.append(el('button', { type: 'button', onclick: () => block() }, 'Block…'), el('button', { type: 'button', onclick: () => exempt() }, 'Exempt…'),
  el('button', { type: 'button', onclick: changeMode }, 'Switch…', el('span', { class: 'unseen' }, ' a policy off or to shadow')));

export function showRules() {
  const { state } = latest;
  add.hidden = state.readOnly;
  const more = byId('rules-more');
  more.hidden = !state.moreRules;
  setText(more, `${number(state.moreRules ?? 0)} more are not shown. “streamlimit rules” lists all, and a key’s page has those on the key.`);
  rules.show((state.rules ?? []).filter((r) => !r.until || r.until > serverNow()));
}

setInterval(showRules, 1000);
