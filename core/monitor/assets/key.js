// A key's page: how much of each limit is used, what can be done, and its log.

import { ban, reset, unban } from './actions.js';
import { Keeper, el, setText } from './dom.js';
import { duration, number } from './format.js';
import { get } from './live.js';
import { Replay } from './replay.js';

export const keyLink = (policy, key) => `#/key/${encodeURIComponent(policy)}/${encodeURIComponent(key)}`;

const refresh = 1000; // between two looks at the key

// keyPage fills parent with the key that is opened.
export function keyPage(parent, serverNow) {
  let wanted = null;
  let shown = null;
  let readAt = 0; // serverNow when shown was read
  let readOnly = false;
  let page = null;
  let timer;

  addEventListener('state', (e) => { readOnly = e.detail.readOnly; if (page && shown) page.update(shown); });
  addEventListener('changed', () => look());
  setInterval(() => { if (page && shown) page.tick(); }, 200);

  async function look() {
    clearTimeout(timer);
    const asked = wanted;
    if (!asked) return;
    if (!document.hidden) {
      try {
        const answer = await get('./api/key', asked);
        if (asked !== wanted) return;
        shown = answer;
        readAt = serverNow();
        page.update(shown);
      } catch (problem) {
        if (asked !== wanted) return;
        page.fail(problem);
      }
    }
    clearTimeout(timer);
    timer = setTimeout(look, refresh);
  }

  function build({ policy, key }) {
    const title = el('h1', { id: 'key-title' }, key);
    const under = el('p', { class: 'muted' }, 'under policy ', el('b', {}, policy));
    const verdict = el('p', { class: 'verdict' });
    const spoken = el('p', { class: 'unseen', role: 'status' }); // without times, which never rest
    const wrong = el('p', { class: 'wrong', role: 'alert', hidden: true });
    const bars = el('div', { class: 'usages' });
    const unlimit = el('button', { type: 'button', onclick: () => reset(policy, key) }, 'Reset…');
    const deny = el('button', { type: 'button', onclick: () => ban(key) }, 'Ban…');
    const undeny = el('button', { type: 'button', onclick: () => unban(key) }, 'Unban…');
    const replay = new Replay();
    parent.replaceChildren(
      el('p', {}, el('a', { href: '#/' }, '← All policies')),
      el('div', { class: 'bar' }, el('div', {}, title, under), el('div', { class: 'buttons' }, unlimit, deny, undeny)),
      wrong, verdict, spoken, bars, replay.element);

    const limits = new Keeper(bars, (l) => l.limit, (l) => {
      const fill = el('div', { class: 'fill' });
      const meter = el('div', { class: 'meter', role: 'meter', 'aria-valuemin': 0, 'aria-label': `used of ${l.limit}` }, fill);
      const used = el('b');
      const next = el('span', { class: 'next' });
      const element = el('div', { class: 'usage' }, el('p', {}, el('span', { class: 'tag limit' }, l.limit), used, next), meter);
      const update = (now) => {
        const share = Math.min(1, now.used / now.max);
        fill.style.width = `${share * 100}%`;
        element.dataset.level = share >= 1 ? 'full' : share >= 0.8 ? 'high' : '';
        meter.setAttribute('aria-valuemax', now.max);
        meter.setAttribute('aria-valuenow', now.used);
        meter.setAttribute('aria-valuetext', `${now.used} of ${now.max}`);
        setText(used, `${number(now.used)} of ${number(now.max)} used`);
        const left = now.freeIn - (serverNow() - readAt);
        const room = now.max - now.used;
        if (room > 0) setText(next, `${number(room)} free${left > 0 ? `, more in ${duration(left)}` : ''}`);
        else setText(next, left > 0 ? `next slot in ${duration(left)}` : 'a slot is free');
      };
      return { element, update };
    });

    function rulesNow() {
      const past = serverNow() - readAt;
      const rules = (shown.rules ?? []).filter((r) => !r.until || r.until > serverNow());
      const banned = rules.find((r) => r.kind === 'ban' && r.key);
      const wait = shown.retryAfter - past;
      const words = rules.map((r) => `${{ ban: 'banned', block: 'blocked', exempt: 'exempt', override: 'limits overridden' }[r.kind]}${r.until ? ` for ${duration(r.until - serverNow())}` : ''}`);
      const refused = rules.some((r) => r.kind === 'ban' || r.kind === 'block');
      if (!refused) words.push(shown.allowed ? 'a request would be allowed now' : wait > 0 ? `denied, the next request fits in ${duration(wait)}` : 'the next request fits now');
      setText(verdict, `${words.join(', ')}.`);
      setText(spoken, refused ? 'refused by a rule' : shown.allowed ? 'a request would be allowed' : 'denied');
      verdict.dataset.allowed = !refused && (shown.allowed || wait <= 0);
      undeny.hidden = readOnly || !banned;
      deny.hidden = readOnly || Boolean(banned);
      unlimit.hidden = readOnly;
    }

    return {
      update(now) {
        wrong.hidden = true;
        if (now.name) { setText(title, now.name); setText(under, `under policy ${policy}, key ${key}`); }
        limits.show(now.limits);
        replay.show(now);
        rulesNow();
      },
      tick() {
        for (const [id, row] of limits.kept) row.update(shown.limits.find((l) => l.limit === id));
        rulesNow();
      },
      fail(problem) {
        wrong.hidden = false;
        setText(wrong, problem.status === 404 ? `There is no policy ${policy} here: it may not have met a request yet.` : `This key can’t be read now: ${problem.message}.`);
      },
      close() { replay.stop(); },
    };
  }

  return {
    open(target) {
      page?.close();
      wanted = target;
      shown = null;
      page = null;
      parent.hidden = target === null;
      parent.replaceChildren();
      clearTimeout(timer);
      if (target === null) return;
      document.title = `${target.key} – Rate limits`;
      page = build(target);
      look();
    },
  };
}

