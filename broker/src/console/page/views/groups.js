// Consumer groups of the cluster.

import { h, panel, badge } from '../dom.js';
import { table, pager } from '../table.js';
import { query } from '../api.js';
import { known, whole } from '../format.js';
import { searchBox } from './topics.js';

export const STATES = { Stable: 'good', PreparingRebalance: 'warn', CompletingRebalance: 'warn', Dead: 'bad' };

export function groups(context) {
  const state = { search: '', sort: 'name', order: 'asc', page: 0, per: 50 };
  const change = (what) => { Object.assign(state, what); context.refresh(); };
  const rows = table({
    label: 'Consumer groups',
    key: (row) => row.group,
    empty: 'no consumer group',
    onsort: (by) => change({ page: 0, sort: by, order: by === 'lag' ? 'desc' : state.sort === by && state.order === 'asc' ? 'desc' : 'asc' }),
    columns: [
      { title: 'Group', sort: 'name', cell: (row) => h('a', { href: `#/groups/${encodeURIComponent(row.group)}` }, row.group) },
      { title: 'State', sort: 'state', cell: (row) => badge(row.state, STATES[row.state]) },
      { title: 'Members', num: true, cell: (row) => known(whole(row.members)) },
      { title: 'Records behind', num: true, sort: 'lag', cell: (row) => known(whole(row.lag), 'another broker coordinates it, or nothing is committed') },
      { title: 'Protocol', cell: (row) => known(row.protocol_type, 'none: it only commits offsets') },
      { title: 'Coordinator', cell: (row) => `broker ${row.coordinator}` },
    ],
  });
  const pages = pager((page) => change({ page }));
  const note = h('span', { class: 'note' });
  return {
    root: h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Groups'), searchBox('Search groups', '', (search) => change({ search, page: 0 })), note),
      panel('Consumer groups', { body: false }, rows.element, pages.element)),
    url: () => `/api/v1/groups${query(state)}`,
    render(data) {
      note.textContent = `lag of groups that this broker coordinates, sampled every ${data.lag_every_s} s`;
      rows.render(data.rows, { by: state.sort, order: state.order });
      pages.render(data.page, data.per, data.matched, data.total, 'groups');
    },
  };
}
