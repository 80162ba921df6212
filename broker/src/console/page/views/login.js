// The form to log in with.

import { h, panel } from '../dom.js';
import { send } from '../api.js';

export function login(session, done) {
  const user = h('input', { name: 'user', autocomplete: 'username', required: true, spellcheck: false });
  const password = h('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const button = h('button', { type: 'submit', class: 'primary' }, 'Log in');
  const error = h('div', { class: 'error', role: 'alert' });
  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    error.textContent = '';
    try {
      await send('POST', '/api/v1/session', { user: user.value, password: password.value });
      password.value = '';
      done();
    } catch (failure) {
      error.textContent = failure.message;
      password.select();
    } finally {
      button.disabled = false;
    }
  }
  const what = session.needs_login ? 'a user of Kafka, with its password' : 'the account of KAFSCALE_UI_USERNAME';
  const root = h('div', { class: 'login' }, panel('Log in', {},
    h('p', { class: 'mute' }, `Broker ${session.broker} of ${session.cluster}: ${what}.`),
    !session.is_tls && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
      && h('p', { class: 'notice' }, 'This connection is not encrypted: others on the way can read the password.'),
    h('form', { onsubmit: submit }, h('label', {}, 'Name', user), h('label', {}, 'Password', password), error, button)));
  return { root, start: () => user.focus() };
}
