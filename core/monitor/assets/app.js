// The page: passes the server's data to the parts that show it.

import { banners } from './banners.js';
import { byId } from './dom.js';
import { keyPage } from './key.js';
import { connect } from './live.js';
import { serverNow, takeSecond, takeState } from './now.js';
import { drawCharts, loadHistory, showPolicies, showSecondOfPolicies } from './policies.js';
import { showProcesses } from './processes.js';
import { showRoutes } from './routes.js';
import { showRules } from './rules.js';
import { search } from './search.js';
import { drawTiles } from './tiles.js';
import { showTop } from './top.js';

connect({
  event(name, data) {
    if (name === 'state') showState(data);
    else showSecond(data);
  },
  link(now, text) {
    if (banners.link(now, text) && now === 'live') loadHistory();
  },
});

function showState(state) {
  takeState(state);
  banners.state(state);
  showPolicies();
  showProcesses();
  showRules();
  drawTiles();
  dispatchEvent(new CustomEvent('state', { detail: state }));
}

function showSecond(second) {
  takeSecond(second);
  showSecondOfPolicies(second);
  if (document.hidden) return;
  drawCharts();
  drawTiles();
  showTop(second);
  showRoutes();
}

// Routing: the overview, or the page of a key. The address has no key that a person typed.

const key = keyPage(byId('key'), serverNow);
let typed = null;

search((target) => {
  typed = target;
  if (location.hash === '#/key') route();
  else location.hash = '#/key';
});

byId('skip').addEventListener('click', (e) => { e.preventDefault(); byId('main').focus(); });

function wanted() {
  if (location.hash === '#/key') return typed;
  const [, policy, name] = location.hash.match(/^#\/key\/([^/]*)\/(.*)$/) ?? [];
  const text = (part) => { try { return decodeURIComponent(part); } catch { return part; } };
  return policy === undefined ? null : { policy: text(policy), key: text(name) };
}

function route() {
  const target = wanted();
  byId('overview').hidden = target !== null;
  byId('found').hidden = true;
  byId('q').value = '';
  key.open(target);
  if (target === null) document.title = 'Rate limits';
}

addEventListener('hashchange', () => { route(); byId('main').focus(); scrollTo(0, 0); });
route();
