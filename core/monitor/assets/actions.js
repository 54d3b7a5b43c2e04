// The actions of an operator. A dialog confirms each action, and the page announces its result.

import { byId, el, setText } from './dom.js';
import { duration, limitText } from './format.js';
import { post, refusal } from './live.js';

const dialog = byId('dialog');
const error = byId('dialog-error');
let perform = null;

byId('dialog-no').addEventListener('click', () => dialog.close());
dialog.querySelector('form').addEventListener('submit', async (e) => {
  e.preventDefault();
  const yes = byId('dialog-yes');
  if (yes.disabled) return;
  yes.disabled = true;
  setText(error, '');
  try {
    const said = await perform();
    dialog.close();
    say(said);
    dispatchEvent(new Event('changed'));
  } catch (problem) {
    setText(error, whyNot(problem));
  } finally {
    yes.disabled = false;
  }
});

// whyNot returns the text for a failed action, with advice. Without a response, and after a 503, nobody knows whether
// the action was done.
function whyNot({ status, message }) {
  if (status === undefined || status === 503) return `It may not have worked: ${message}. Check this page before you try again.`;
  return `It did not work: ${status === 401 || status === 429 ? refusal : message}.`;
}

let silence;

function say(text) {
  const said = byId('said');
  setText(said, text);
  clearTimeout(silence);
  silence = setTimeout(() => setText(said, ''), 8000);
}

function ask(title, text, yes, fields, act) {
  setText(byId('dialog-title'), title);
  setText(byId('dialog-text'), text);
  setText(byId('dialog-yes'), yes);
  setText(error, '');
  byId('dialog-fields').replaceChildren(...fields);
  perform = act;
  dialog.showModal();
}

export function reset(policy, key, slots) {
  const text = slots ? `${key} gets all its slots of ${policy} back at once. Its requests in flight go on, and do not count any more.`
    : `${key} gets all its units of ${policy} back at once. Its log is deleted.`;
  ask('Reset this key?', text, 'Reset', [], async () => {
    await post('./api/reset', { policy, key });
    return `${key} has been reset under ${policy}.`;
  });
}

const lengths = [['seconds', 1], ['minutes', 60], ['hours', 3600], ['days', 86400]];

// lengthFields makes the fields for a duration. An empty field is 0 where that is allowed.
function lengthFields(label, value) {
  const count = el('input', { id: 'length-count', type: 'number', min: '1', max: '10000', value, required: value !== '' });
  const unit = el('select', { id: 'length-unit', 'aria-label': 'unit' },
    ...lengths.map(([text, seconds]) => el('option', { value: seconds, selected: seconds === 60 }, text)));
  return {
    fields: [el('label', { for: 'length-count' }, label), el('div', { class: 'pair' }, count, unit)],
    seconds: () => Number(count.value) * Number(unit.value),
  };
}

export function ban(key) {
  const { fields, seconds } = lengthFields('For how long', '10');
  ask('Ban this key?', `${key} is denied everything, under every policy, until the ban ends.`, 'Ban', fields, async () => {
    await post('./api/ban', { key, seconds: seconds() });
    return `${key} is banned for ${duration(seconds() * 1000)}.`;
  });
}

// client opens the dialog for a rule on an address, a network or a key.
function client(title, text, yes, path, done, whom) {
  const field = el('input', { id: 'client', value: whom, required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'client-help' });
  const { fields, seconds } = lengthFields('For how long; empty: until you end it', '');
  const all = [el('label', { for: 'client' }, 'Address, network or key'), field,
    el('small', { id: 'client-help' }, 'An address or a network, such as 198.51.100.0/24, is matched with the addresses of requests, whatever they are counted by. ' +
      'Anything else is a key as this page shows it, never the credential itself.'), ...fields];
  ask(title, text, yes, all, async () => {
    const key = field.value.trim();
    await post(path, { key, seconds: seconds() });
    return `${key} is ${done}${seconds() ? ` for ${duration(seconds() * 1000)}` : ''}.`;
  });
}

export function block(whom = '') {
  client('Block a client?', 'All its requests are denied, under every policy.', 'Block', './api/block', 'blocked', whom);
}

export function exempt(whom = '') {
  client('Exempt a client?', 'All its requests pass, and none is counted.', 'Exempt', './api/exempt', 'exempt', whom);
}

export function unblock(key) {
  ask('End this block?', `${key} is limited as before.`, 'Unblock', [], async () => {
    await post('./api/unblock', { key });
    return `${key} is not blocked any more.`;
  });
}

export function unexempt(key) {
  ask('End this exemption?', `${key} is limited like every client.`, 'End', [], async () => {
    await post('./api/unexempt', { key });
    return `${key} is not exempt any more.`;
  });
}

export function unban(key) {
  ask('End this ban?', `${key} is limited as before.`, 'Unban', [], async () => {
    await post('./api/unban', { key });
    return `${key} is not banned any more.`;
  });
}

export function override(policy, limits, slots) {
  const text = el('input', { id: 'override-limits', value: limits.join(', '), required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'override-help' });
  const fields = [el('label', { for: 'override-limits' }, 'Its limits until then'), text,
    el('small', { id: 'override-help' }, slots ? 'The number of requests in flight and their hold: 10/30s is 10 in flight, with a hold of 30 s.'
      : 'Such as 5/second, 100/minute, 20/1m30s or 1000/month@UTC. They replace all limits of the policy.')];
  ask(`Override the limits of ${policy}?`, 'They hold in all processes within a second, until they are restored.', 'Override', fields, async () => {
    const wanted = text.value.split(',').map((limit) => limit.trim()).filter(Boolean);
    await post('./api/override', { policy, limits: wanted });
    return `${policy} is now limited to ${wanted.map((limit) => limitText(limit, slots)).join(' and ')}.`;
  });
}

export function restore(policy) {
  ask(`Restore the limits of ${policy}?`, 'The override is removed, and its own limits hold again.', 'Restore', [], async () => {
    await post('./api/restore', { policy });
    return `${policy} has its own limits again.`;
  });
}

// nameOf returns the name of the policy of a switch.
export const nameOf = (policy) => (policy === '*' ? 'all policies' : policy);

// switchTo opens the dialog that switches one of the policies, or all, off or to shadow.
export function switchTo(names) {
  const policy = el('select', { id: 'switch-policy' }, ...['*', ...names].map((name) => el('option', { value: name }, nameOf(name))));
  const mode = el('select', { id: 'switch-mode' },
    el('option', { value: 'off' }, 'off: requests pass uncounted'), el('option', { value: 'shadow' }, 'shadow: all are counted, none is denied'));
  const { fields, seconds } = lengthFields('For how long; empty: until you end it', '');
  const all = [el('label', { for: 'switch-policy' }, 'What'), policy, el('label', { for: 'switch-mode' }, 'To'), mode, ...fields];
  ask('Switch a policy?', 'It holds in all processes within a second. Clients that are banned or blocked stay out.', 'Switch', all, async () => {
    await post('./api/switch', { policy: policy.value, mode: mode.value, seconds: seconds() });
    return `The switch of ${nameOf(policy.value)} to ${mode.value} holds${seconds() ? ` for ${duration(seconds() * 1000)}` : ''}.`;
  });
}

export function switchOn(policy) {
  ask(`Switch ${nameOf(policy)} on?`, 'The switch is removed. Limits are enforced as before it, unless another switch holds.', 'Switch on', [], async () => {
    await post('./api/switch', { policy, mode: 'on' });
    return `The switch of ${nameOf(policy)} has ended.`;
  });
}
