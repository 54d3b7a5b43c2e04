// The connection: a stream of events, or asking each second where something in between holds streams up.

// Addresses are relative to the page's, without the login that it may have been opened with.
const at = (path) => new URL(path, location.origin + location.pathname);

const patience = 6000; // events come each second
const longest = 15_000; // between two tries

// refuses reports whether a response or an error is that of somebody who is not logged in.
export const refuses = ({ status }) => [401, 403, 429].includes(status);
export const refusal = 'the server refuses: reload the page to log in, or follow its link again';

// connect calls on.event(name, data) and on.link(state, text); state is "live" or "lost".
export function connect(on) {
  let source, timer, asking, tries = 0, streams = false;

  function got(name, data) {
    tries = 0;
    on.link('live', streams ? 'live' : 'live, by asking');
    on.event(name, data);
  }

  function stream() {
    rest();
    source = new EventSource(at('./api/live'));
    timer = setTimeout(broken, patience);
    source.addEventListener('error', broken);
    for (const name of ['state', 'second']) {
      source.addEventListener(name, (e) => {
        streams = true;
        clearTimeout(timer);
        timer = setTimeout(broken, patience);
        got(name, JSON.parse(e.data));
      });
    }
  }

  async function broken() {
    rest();
    const here = (asking = new AbortController());
    const why = streams ? '' : await poll(here.signal);
    if (here.signal.aborted) return;
    streams = false;
    const wait = Math.min(longest, 1000 * 2 ** tries++);
    on.link('lost', `The connection is lost${why && ` (${why})`}. What you see is from before. Trying again in ${Math.round(wait / 1000)} s.`);
    timer = setTimeout(stream, wait);
  }

  // poll asks for as long as that works, and says why it does not.
  async function poll(stopped) {
    for (;;) {
      try {
        const response = await fetch(at('./api/live?poll=1'), { signal: AbortSignal.any([stopped, AbortSignal.timeout(patience)]) });
        if (refuses(response)) return refusal;
        if (!response.ok) return `status ${response.status}`;
        for (const line of (await response.text()).split('\n')) {
          if (line) { const { event, data } = JSON.parse(line); got(event, data); }
        }
      } catch {
        return '';
      }
      await new Promise((done) => setTimeout(done, 1000));
      if (stopped.aborted) return '';
    }
  }

  function rest() {
    clearTimeout(timer);
    source?.close();
    asking?.abort();
  }

  // A page that nobody sees gives its connection back: browsers have few for each server.
  document.addEventListener('visibilitychange', () => (document.hidden ? rest() : stream()));
  if (!document.hidden) stream();
}

// get fetches JSON; an error has what the server says of it.
export async function get(path, parameters = {}) {
  return read(await call(`${path}?${new URLSearchParams(parameters)}`));
}

// ask is get for what may not be in an address.
export async function ask(path, body) {
  return read(await post(path, body));
}

export function post(path, body) {
  return call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
}

const silent = () => new Error('the server does not answer');

const read = (response) => response.json().catch(() => { throw silent(); });

async function call(path, options) {
  let response;
  try {
    response = await fetch(at(path), { signal: AbortSignal.timeout(10_000), ...options });
  } catch {
    throw silent();
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail || problem.title || `status ${response.status}`), { status: response.status });
}
