// The keys with the most requests of the last minute.

import { Table, byId, el, setText } from './dom.js';
import { estimate } from './format.js';
import { keyLink } from './key.js';
import { latest } from './now.js';

export const keyId = (item) => JSON.stringify([item.policy, item.key]);

const marks = { ban: 'banned', block: 'blocked', exempt: 'exempt' };

export const keyCells = (count) => ([key, policy, n]) => {
  const link = el('a');
  const mark = el('span', { class: 'tag warn', hidden: true });
  const bar = el('span', { class: 'share' });
  const figure = el('span');
  key.append(link, ' ', mark);
  n.append(figure, bar);
  return (item) => {
    setText(link, item.name || item.key);
    link.href = keyLink(item.policy, item.key);
    const rule = (latest.state.rules ?? []).find((r) => r.key === item.key && marks[r.kind]);
    mark.hidden = !rule;
    setText(mark, rule ? marks[rule.kind] : '');
    setText(policy, item.policy);
    setText(figure, count(item));
    bar.style.width = `${Math.round(100 * (item.share ?? 0))}%`;
  };
};

function topTable(id, label, column, empty) {
  const table = new Table(byId(id), { label, columns: ['Key', 'Policy', column], empty, idOf: keyId, cells: keyCells((item) => estimate(item.count, item.error)) });
  return { show: (items) => table.show(items.map((item) => ({ ...item, share: item.count / items[0].count }))) };
}

const denied = topTable('top-denied', 'Keys denied most', '#Denied in a minute', 'Nobody was denied in the last minute.');
const allowed = topTable('top-allowed', 'Keys allowed most', '#Allowed in a minute', 'No requests lately. Send one to a route that has a limit.');

export function showTop(second) {
  denied.show(second.top?.denied ?? []);
  allowed.show(second.top?.allowed ?? []);
}
