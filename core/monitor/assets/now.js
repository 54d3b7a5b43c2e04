// The latest data from the server, for all parts of the page.

export const latest = {
  state: { now: Date.now(), policies: [], processes: [], rules: [], requests: {} },
  seconds: [], // of the last minute, newest last
  ahead: 0, // how far the server's clock is ahead, in milliseconds
};

export const serverNow = () => Date.now() + latest.ahead;

export const sum = (items, of) => items.reduce((all, item) => all + (of(item) ?? 0), 0);

// The kinds of decisions that add up to the total, and their names.
export const kinds = [
  ['allowed', 'allowed'],
  ['denied', 'denied'],
  ['shadowDenied', 'would be denied'],
  ['overloaded', 'overloaded'],
  ['error', 'no decision'],
];

export const decided = (counts) => sum(kinds, ([kind]) => counts?.[kind]);

// passed returns the decisions whose requests passed: a policy in shadow mode denies nothing.
export const passed = (counts) => (counts?.allowed ?? 0) + (counts?.shadowDenied ?? 0);

// hasSlots reports whether a policy is a concurrency policy.
export const hasSlots = (policy) => policy?.layout === 'slots';

// alone returns the decisions that were made without the store.
export const alone = (counts) => (counts?.alone ?? (counts?.by?.fallback ?? 0) + (counts?.by?.open ?? 0));

export function takeState(state) {
  latest.state = state;
  latest.ahead = state.now - Date.now();
}

// takeSecond adds a second, and keeps those of the last minute.
export function takeSecond(second) {
  const oldest = second.t - 60_000;
  latest.seconds = [...latest.seconds.filter((s) => s.t > oldest && s.t !== second.t), second].sort((a, b) => a.t - b.t);
}
