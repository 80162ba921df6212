// The shell: where we are, what is asked how often, and what is said when nothing is answered.

import { h, badge, setText } from './dom.js';
import { get, send } from './api.js';
import { clock } from './format.js';
import { overview } from './views/overview.js';
import { cluster } from './views/cluster.js';
import { topics } from './views/topics.js';
import { topic } from './views/topic.js';
import { groups } from './views/groups.js';
import { group } from './views/group.js';
import { storage } from './views/storage.js';
import { cache } from './views/cache.js';
import { latency } from './views/latency.js';
import { events } from './views/events.js';
import { security } from './views/security.js';
import { login } from './views/login.js';

const EVERY = 2_000;
const VIEWS = [
  { name: 'overview', title: 'Overview', key: 'o', all: overview },
  { name: 'cluster', title: 'Cluster', key: 'c', all: cluster },
  { name: 'topics', title: 'Topics', key: 't', all: topics, one: topic },
  { name: 'groups', title: 'Groups', key: 'r', all: groups, one: group },
  { name: 'storage', title: 'Storage', key: 's', all: storage },
  { name: 'cache', title: 'Cache', key: 'm', all: cache },
  { name: 'latency', title: 'Latency', key: 'l', all: latency },
  { name: 'events', title: 'Events', key: 'e', all: events },
  { name: 'security', title: 'Security', key: 'u', all: security },
];
const STORE = { healthy: 'good', degraded: 'warn', unavailable: 'bad' };

const at = (id) => document.getElementById(id);
let session = null;
let view = null;
let timer = 0;
/** When the broker answered last. */
let seen = 0;
/** Rises with every change of the view: what was asked for before is not shown. */
let turn = 0;

/** Where the address says that we are. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/').filter(Boolean).map(decodeURIComponent);
  return { name: name ?? 'overview', path: rest, query: new URLSearchParams(query ?? '') };
}

function notice(text) {
  at('notice').hidden = text === null;
  setText(at('notice'), text ?? '');
}

function live(kind, text) {
  const element = at('live');
  element.className = `live ${kind}`;
  setText(element, text);
  // What is shown was so once: it must not look as if it were so now.
  document.body.classList.toggle('stale', kind === 'lost');
}

/** What the head of the page says, and whoever is logged in. */
function head(summary) {
  at('where').replaceChildren(h('b', {}, summary.cluster), ` · broker ${summary.broker} · ${summary.version}`);
  const badges = [badge(`store ${summary.store}`, STORE[summary.store]), badge(summary.is_ready ? 'ready' : 'not ready', summary.is_ready ? 'good' : 'bad')];
  badges[1].title = summary.trouble ?? '';
  if (summary.trouble) badges.push(h('span', { class: 'mute' }, summary.trouble));
  if (![...at('badges').children].every((it, index) => badges[index]?.isEqualNode(it)) || at('badges').childElementCount !== badges.length) at('badges').replaceChildren(...badges);
}

function user() {
  const element = at('user');
  if (session.user) {
    const role = session.is_admin ? 'admin' : 'read-only';
    element.replaceChildren(h('span', {}, session.user), badge(role, session.is_admin ? 'info' : ''), h('button', { type: 'button', onclick: logOut }, 'Log out'));
  } else if (session.has_login) {
    element.replaceChildren(badge('read-only'), h('a', { class: 'button', href: '#/login' }, 'Log in'));
  } else {
    element.replaceChildren(badge('read-only'));
    element.firstChild.title = 'set KAFSCALE_UI_USERNAME and KAFSCALE_UI_PASSWORD to change things here';
  }
}

async function logOut() {
  try {
    await send('DELETE', '/api/v1/session');
  } finally {
    await know();
    show();
  }
}

/** Asks who we are. */
async function know() {
  session = await get('/api/v1/session');
  user();
}

function nav(current) {
  const links = VIEWS.map(({ name, title, key }) => h('a', { href: `#/${name}`, 'aria-current': name === current ? 'page' : null }, title, h('kbd', { 'aria-hidden': 'true' }, `g ${key}`)));
  const before = at('nav').querySelector(':focus')?.getAttribute('href');
  at('nav').replaceChildren(...links);
  if (before) at('nav').querySelector(`[href="${before}"]`)?.focus();
}

/** What views are given. */
const context = () => ({
  ...place(),
  refresh: () => poll(),
  failed,
  /** Asks for a change. What is shown is not asked for meanwhile: it may be what goes. */
  async send(...change) {
    turn += 1;
    clearTimeout(timer);
    try {
      return await send(...change);
    } finally {
      timer = setTimeout(poll, EVERY);
    }
  },
});

function show() {
  turn += 1;
  clearTimeout(timer);
  notice(null);
  const { name, path } = place();
  const known = VIEWS.find((it) => it.name === name) ?? VIEWS[0];
  const wants = name === 'login' || (session.needs_login && !session.user);
  nav(wants ? null : known.name);
  if (wants) {
    view = login(session, async () => {
      await know();
      if (place().name === 'login') location.hash = '#/overview';
      else show();
    });
    live('', '');
  } else {
    view = (path.length > 0 && known.one ? known.one : known.all)(context());
  }
  const title = path[0] ?? known.title;
  document.title = `${wants ? 'Log in' : title} · KafScale`;
  at('view').replaceChildren(view.root);
  view.start?.();
  poll();
}

/** Says what went wrong; a login that is over is asked for again. */
function failed(error) {
  if (error.status === 401) know().then(show, () => {});
  else if (error.status === 0 || error.status >= 500) live('lost', seen === 0 ? 'no answer' : `no answer since ${clock(seen)}`);
}

async function poll() {
  clearTimeout(timer);
  const [shown, now] = [view, turn];
  if (!shown.url || document.hidden) {
    if (shown.url) live('', 'paused');
    return;
  }
  try {
    const { data, summary } = await get(shown.url());
    if (now !== turn) return;
    seen = Date.now();
    head(summary);
    shown.render(data, summary);
    live('on', `live, every ${(shown.every ?? EVERY) / 1000} s`);
    notice(null);
  } catch (error) {
    if (now !== turn) return;
    notice(error.message);
    failed(error);
    if (!('status' in error)) throw error;
  } finally {
    if (now === turn) {
      clearTimeout(timer);
      timer = setTimeout(poll, shown.every ?? EVERY);
    }
  }
}

/** A question with a button; `act` may fail, and says why. */
export function ask(title, body, word, act, kind = 'primary') {
  const error = h('div', { class: 'error', role: 'alert' });
  const go = h('button', { type: 'submit', class: kind }, word);
  const dialog = h('dialog', { 'aria-label': title }, h('h2', {}, title),
    h('form', { method: 'dialog', async onsubmit(event) {
      event.preventDefault();
      go.disabled = true;
      try {
        await act();
        dialog.close();
      } catch (failure) {
        error.textContent = failure.message;
        failed(failure);
      } finally {
        go.disabled = false;
      }
    } }, body, error, h('div', { class: 'actions' }, h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), go)));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector('input:not([disabled]), select')?.focus();
}

let prefix = 0;
const TYPING = 'input, select, textarea';

/** `/` searches, `g` and a letter go to a view, `?` tells so. */
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.target.matches?.(TYPING)) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (event.key === '/') {
    const search = document.querySelector('.search, main input:not([disabled])');
    if (search) { event.preventDefault(); search.focus(); search.select?.(); }
  } else if (event.key === '?') {
    at('help').showModal();
  } else if (event.key === 'g') {
    prefix = event.timeStamp;
    return;
  } else if (event.timeStamp - prefix < 1500) {
    const to = VIEWS.find((it) => it.key === event.key);
    if (to) { event.preventDefault(); location.hash = `#/${to.name}`; at('main').focus({ preventScroll: true }); }
  }
  prefix = -Infinity;
}

function help() {
  const keys = [['/', 'search'], ['↑ ↓', 'from row to row'], ['Esc', 'leave a field, close a dialog'], ['?', 'this list'], ...VIEWS.map((it) => [`g ${it.key}`, it.title])];
  at('keys').replaceChildren(...keys.flatMap(([what, why]) => [h('dt', {}, h('kbd', {}, what)), h('dd', {}, why)]));
}

async function begin() {
  help();
  document.addEventListener('keydown', key);
  document.addEventListener('visibilitychange', () => { if (view) poll(); });
  document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); at('main').focus(); });
  for (;;) {
    try {
      await know();
      break;
    } catch (error) {
      notice(error.message);
      live('lost', 'no answer');
      await new Promise((wake) => { setTimeout(wake, EVERY); });
    }
  }
  addEventListener('hashchange', show);
  show();
}

begin();
