// Search by a part of a key, or by the credential of a key. The text may be a secret, so it is sent in a body and
// nowhere else.

import { Table, byId, el } from './dom.js';
import { estimate } from './format.js';
import { ask } from './live.js';
import { latest } from './now.js';
import { keyCells, keyId } from './top.js';

const found = new Table(byId('found-keys'), {
  label: 'Keys found', columns: ['Key', 'Policy', '#Denied, allowed in a minute'], idOf: keyId,
  empty: 'No process reports a request of such a key in the last minute.',
  cells: keyCells((k) => `${estimate(k.denied, k.deniedError)}, ${estimate(k.allowed, k.allowedError)}`),
});
const digest = el('p', { class: 'digest', hidden: true });
const guesses = el('div', { class: 'guesses' });
byId('found-keys').append(digest, guesses);

// search calls open with the policy and key that the user chose among the guesses.
export function search(open) {
  let typing;

  async function look() {
    clearTimeout(typing);
    const q = byId('q').value.trim();
    byId('found').hidden = q === '';
    if (q === '') return;
    try {
      const answer = await ask('./api/search', { q });
      if (byId('q').value.trim() !== q) return;
      const most = Math.max(1, ...answer.keys.map((k) => k.allowed + k.denied));
      found.show(answer.keys.map((k) => ({ ...k, share: (k.allowed + k.denied) / most })));
      digest.hidden = !answer.digest;
      digest.replaceChildren('As a credential, its digest is ', el('code', {}, answer.digest), '.');
      guesses.replaceChildren(...answer.guesses.map((key) => el('p', { class: 'tags' }, el('b', {}, key),
        ...latest.state.policies.map(({ name }) => el('button', { type: 'button', class: 'tag', onclick: () => open({ policy: name, key }) }, `under ${name}`)))));
    } catch {
      // The banner of the connection shows the error.
    }
  }

  byId('search').addEventListener('submit', (e) => { e.preventDefault(); look(); });
  byId('q').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(look, 200); });
}
