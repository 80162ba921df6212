// Listeners, users and rules.

import { h, panel, facts, badge } from '../dom.js';
import { table, pager } from '../table.js';
import { query } from '../api.js';
import { known, whole } from '../format.js';

export function security(context) {
  let page = 0;
  const listeners = table({
    label: 'Listeners',
    key: (row) => row.address,
    columns: [
      { title: 'Listener', cell: (row) => known(row.name, 'the only one') },
      { title: 'Address', cell: (row) => row.address },
      { title: 'Protocol', cell: (row) => badge(row.protocol, row.protocol === 'PLAINTEXT' ? 'warn' : 'good') },
      { title: 'Mechanisms', cell: (row) => known(row.mechanisms.join(', '), 'clients need not show who they are by SASL') },
    ],
  });
  const users = table({
    label: 'Users',
    key: (row) => row.name,
    empty: 'no user is stored',
    columns: [{ title: 'User', cell: (row) => row.name }, { title: 'Credentials', cell: (row) => row.credentials.join('; ') }],
  });
  const rules = table({
    label: 'Rules',
    key: (row) => Object.values(row).join('\n'),
    empty: 'no rule is stored',
    columns: [
      { title: 'Principal', cell: (row) => row.principal },
      { title: '', cell: (row) => badge(row.permission, row.permission === 'deny' ? 'bad' : 'good') },
      { title: 'Operation', cell: (row) => row.operation },
      { title: 'Resource', cell: (row) => `${row.resource} ${row.name}${row.pattern === 'prefixed' ? '*' : ''}` },
      { title: 'Host', cell: (row) => row.host },
    ],
  });
  const pages = pager((next) => { page = next; context.refresh(); });
  const about = h('div', { class: 'body' });
  return {
    root: h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Security')),
      panel('Listeners', { body: false }, listeners.element),
      panel('Authorization', { body: false }, about),
      h('div', { class: 'cols' }, panel('Users', { body: false }, users.element), panel('Rules (ACLs)', { body: false }, rules.element, pages.element))),
    url: () => `/api/v1/security${query({ page, per: 100 })}`,
    every: 5_000,
    render(data) {
      listeners.render(data.listeners);
      users.render(data.users);
      rules.render(data.rules);
      pages.render(data.page, data.per, data.rules_total, data.rules_total, 'rules');
      about.replaceChildren(facts([
        ['Authentication', data.is_on ? badge('on', 'good') : badge('off: clients need not show who they are', 'warn')],
        ['Rules', data.has_authorizer ? badge('decide what clients may do', 'good') : badge('off: everybody may do everything', 'warn')],
        ['Super users', known(data.super_users.join(', '), 'none')],
        ['Users', `${whole(data.users_total)} stored`],
      ]));
    },
  };
}
