// The connection: a stream of events, or polling each second where something in between buffers streams.

// Addresses are relative to the page's address, without the user and password in it.
const at = (path) => new URL(path, location.origin + location.pathname);

const patience = 6000; // the longest time without an event; events come each second
const longest = 15_000; // between two tries

// refuses reports whether a response or an error means that the user is not logged in.
export const refuses = ({ status }) => [401, 403, 429].includes(status);
export const refusal = 'the server rejects the login: reload the page to log in, or follow its link again';

// connect calls on.event(name, data) and on.link(state, text); state is "live" or "lost".
export function connect(on) {
  let source, timer, asking, tries = 0, streams = false;

  function got(name, data) {
    tries = 0;
    on.link('live', streams ? 'live' : 'live, by polling');
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
    on.link('lost', `The connection is lost${why && ` (${why})`}. The figures are from before. Trying again in ${Math.round(wait / 1000)} s.`);
    timer = setTimeout(stream, wait);
  }

  // poll polls as long as that works, and returns the reason why it stopped.
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

  // A hidden page closes its connection: browsers allow few for each server.
  document.addEventListener('visibilitychange', () => (document.hidden ? rest() : stream()));
  if (!document.hidden) stream();
}

// get fetches JSON. An error has the server's message.
export async function get(path, parameters = {}) {
  return read(await call(`${path}?${new URLSearchParams(parameters)}`));
}

// ask is like get, for text that must not be in an address.
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
