// The page of a key: the use of each limit, the actions, and the log.

import { ban, block, reset, unban, unblock, unexempt } from './actions.js';
import { Keeper, el, setText } from './dom.js';
import { duration, estimate, limitText, moment, number } from './format.js';
import { ask, refusal, refuses } from './live.js';
import { Replay } from './replay.js';

export const keyLink = (policy, key) => `#/key/${encodeURIComponent(policy)}/${encodeURIComponent(key)}`;

const refresh = 1000; // between two reads of the key
const again = 5000; // after a failed read
const loggedOut = 60_000; // after a rejected login: wrong secrets are counted

const times = (n, error) => `${estimate(n, error)} ${n === 1 && !error ? 'time' : 'times'}`;

// keyPage shows the open key in parent.
export function keyPage(parent, serverNow) {
  let wanted = null;
  let shown = null;
  let readAt = 0; // serverNow when shown was read
  let state = {};
  let page = null;
  let timer;

  addEventListener('state', (e) => { state = e.detail; if (page && shown) page.update(shown); });
  addEventListener('changed', () => look());
  setInterval(() => { if (page && shown) page.tick(); }, 200);

  async function look() {
    clearTimeout(timer);
    const asked = wanted;
    if (!asked) return;
    let wait = refresh;
    if (!document.hidden) {
      try {
        const answer = await ask('./api/key', asked);
        if (asked !== wanted) return;
        shown = answer;
        readAt = serverNow();
        page.update(shown);
      } catch (problem) {
        if (asked !== wanted) return;
        shown = null;
        wait = refuses(problem) ? loggedOut : again;
        page.fail(problem);
      }
    }
    clearTimeout(timer);
    timer = setTimeout(look, wait);
  }

  function build({ policy, key }) {
    const title = el('h1', { id: 'key-title' }, key);
    const under = el('p', { class: 'muted' }, 'under policy ', el('b', {}, policy));
    const wrong = el('div', { class: 'failed', role: 'alert', hidden: true });
    const sentence = el('p');
    wrong.append(sentence, el('button', { type: 'button', class: 'main', onclick: () => look() }, 'Retry'));
    const verdict = el('p', { class: 'verdict' });
    const spoken = el('p', { class: 'unseen', role: 'status' }); // without times, which change all the time
    const lately = el('p', { class: 'lately' });
    const elsewhere = el('p', { class: 'elsewhere' });
    const bars = el('div', { class: 'usages' });
    const renewals = el('p', { class: 'muted' });
    const button = (text, act) => el('button', { type: 'button', onclick: act }, text);
    const unlimit = button('Reset…', () => reset(policy, key, shown.slots));
    const deny = button('Ban…', () => ban(shown.key));
    const undeny = button('Unban…', () => unban(shown.key));
    const shut = button('Block…', () => block(shown.key));
    const unshut = button('Unblock…', () => unblock(ruleOf('block').key || ruleOf('block').network));
    const uncount = button('End exemption…', () => unexempt(ruleOf('exempt').key || ruleOf('exempt').network));
    const actions = el('div', { class: 'buttons' }, unlimit, deny, undeny, shut, unshut, uncount);
    const replay = new Replay();
    const body = el('div', { hidden: true }, verdict, spoken, lately, elsewhere, bars, renewals, replay.element);
    parent.replaceChildren(
      el('p', {}, el('a', { href: '#/' }, '← All policies')),
      el('div', { class: 'bar' }, el('div', {}, title, under), actions),
      wrong, body);
    actions.hidden = true;

    const rulesNow = () => (shown?.rules ?? []).filter((r) => !r.until || r.until > serverNow());
    const ruleOf = (kind) => rulesNow().find((r) => r.kind === kind);
    // A switch of this policy takes precedence over a switch of all policies.
    const switchNow = () => rulesNow().find((r) => r.kind === 'switch' && r.policy !== '*') ?? ruleOf('switch');
    // deciding returns the rule that decides without the log: the first of these.
    const deciding = () => ruleOf('block') ?? ruleOf('ban') ?? ruleOf('exempt') ?? [switchNow()].find((r) => r?.mode === 'off');

    const limits = new Keeper(bars, (l) => l.limit, (l) => {
      const fill = el('div', { class: 'fill' });
      const meter = el('div', { class: 'meter', role: 'meter', 'aria-valuemin': 0, 'aria-label': `used of ${limitText(l.limit, shown.slots)}` }, fill);
      const used = el('b');
      const next = el('span', { class: 'next' });
      const element = el('div', { class: 'usage' }, el('p', {}, el('span', { class: 'tag limit' }, limitText(l.limit, shown.slots)), used, next), meter);
      const update = (now) => {
        const share = Math.min(1, now.used / now.max);
        fill.style.width = `${share * 100}%`;
        element.dataset.level = share >= 1 ? 'full' : share >= 0.8 ? 'high' : '';
        meter.setAttribute('aria-valuemax', now.max);
        meter.setAttribute('aria-valuenow', now.used);
        meter.setAttribute('aria-valuetext', `${now.used} of ${now.max}`);
        setText(used, `${number(now.used)} of ${number(now.max)} ${shown.slots ? 'in flight' : 'used'}${now.since ? ` since ${moment(now.since)}` : ''}`);
        const left = now.freeIn - (serverNow() - readAt);
        const free = `${now.used < now.max ? number(now.max - now.used) : 'none'} free`;
        if (deciding()) setText(next, 'not used: a rule decides');
        else if (shown.slots) setText(next, now.used < now.max ? free : `${free} until a request ends`);
        else setText(next, left > 0 ? `${free}, ${now.since ? 'all back' : 'more'} in ${duration(left)}` : now.used < now.max ? free : 'more are free now');
      };
      return { element, update };
    });

    function showVerdict() {
      const wait = shown.retryAfter - (serverNow() - readAt);
      const fits = shown.allowed || (!shown.slots && wait <= 0);
      const rule = deciding();
      const refused = rule?.kind === 'block' || rule?.kind === 'ban';
      const words = rulesNow().filter((r) => r.kind !== 'switch' || r === switchNow()).map((r) => {
        const name = { ban: 'banned', block: 'blocked', exempt: 'exempt', override: 'limits overridden', switch: `switched ${r.mode === 'off' ? 'off' : 'to shadow'}` }[r.kind];
        return `${name}${r.network ? ` by ${r.network}` : ''}${r.until ? ` for ${duration(r.until - serverNow())}` : ''}`;
      });
      if (refused) words.push('every request is denied');
      else if (rule) words.push('every request passes, uncounted');
      else words.push(shown.allowed ? 'a request would be allowed now' : shown.slots ? 'denied until a request ends' : wait > 0 ? `denied, the next request fits in ${duration(wait)}` : 'the next request fits now');
      const unless = shown.networks && !rule ? ' A rule on its network may decide first: the key does not show the network of a request.' : '';
      setText(verdict, `${words.join(', ')}.${unless}`);
      setText(spoken, refused ? 'refused by a rule' : rule ? 'every request passes, uncounted' : shown.allowed ? 'a request would be allowed' : 'denied');
      verdict.dataset.allowed = !refused && (Boolean(rule) || fits);
      const may = (b, ok) => { b.hidden = state.readOnly || !ok; };
      may(unlimit, true);
      may(undeny, ruleOf('ban')?.key);
      may(deny, !ruleOf('ban'));
      may(shut, !ruleOf('block'));
      may(unshut, ruleOf('block'));
      may(uncount, ruleOf('exempt'));
    }

    function showLately() {
      const { denied, deniedError, allowed, allowedError } = shown.lately;
      setText(lately, `In the last minute: denied ${times(denied, deniedError)}, allowed ${times(allowed, allowedError)}${state.alone ? ', by this process alone' : ''}.`);
      if (shown.elsewhere.length === 0) setText(elsewhere, 'No process reports it under another policy in the last minute.');
      else {
        elsewhere.replaceChildren('Also under ', ...shown.elsewhere.flatMap((k, i) => [i ? ', ' : '', el('a', { href: keyLink(k.policy, k.key) }, k.policy),
          ` (denied ${estimate(k.denied, k.deniedError)}, allowed ${estimate(k.allowed, k.allowedError)})`]), '.');
      }
    }

    // showRenewals shows whether the slots are renewed. The slots of a process that has ended are not renewed. It shows
    // nothing for 500 slots or more, since it may not know the oldest.
    function showRenewals() {
      renewals.hidden = !shown.slots || shown.entries.length === 0 || shown.entries.length >= 500;
      if (renewals.hidden) return;
      const ages = shown.entries.map((e) => shown.now + (serverNow() - readAt) - e.t);
      setText(renewals, `The oldest renewal of a slot was ${duration(Math.max(...ages))} ago. A slot that is not renewed is free after ${duration(shown.limits[0].window)}.`);
    }

    return {
      update(now) {
        wrong.hidden = true;
        body.hidden = false;
        actions.hidden = false;
        if (now.name) { setText(title, now.name); setText(under, `under policy ${policy}, key ${now.key}`); }
        limits.show(now.limits);
        replay.element.hidden = Boolean(now.slots); // renewals are no requests
        if (!now.slots) replay.show(now);
        showRenewals();
        showLately();
        showVerdict();
      },
      tick() {
        for (const [id, row] of limits.kept) row.update(shown.limits.find((l) => l.limit === id));
        showRenewals();
        showVerdict();
      },
      fail(problem) {
        replay.stop();
        wrong.hidden = false;
        body.hidden = true;
        actions.hidden = true;
        setText(sentence, problem.status === 404 ? `There is no policy ${policy} here: no process has reported it within the hour.`
          : `This key can’t be read now: ${refuses(problem) ? refusal : problem.message}.`);
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
