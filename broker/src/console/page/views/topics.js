// All topics, a page at a time.

import { h, panel, badge } from '../dom.js';
import { table, pager } from '../table.js';
import { query } from '../api.js';
import { known, quiet, size, sizeRate, perSecond, whole } from '../format.js';
import { ask } from '../app.js';

/** A search box that waits until nobody types. */
export function searchBox(label, value, onsearch) {
  let timer = 0;
  return h('input', { type: 'search', class: 'search', value, placeholder: `${label}  ( / )`, 'aria-label': label, autocomplete: 'off', spellcheck: false,
    oninput: (event) => { clearTimeout(timer); timer = setTimeout(() => onsearch(event.target.value.trim()), 180); } });
}

export function topics(context) {
  const state = { search: '', sort: 'name', order: 'asc', page: 0, per: 50 };
  const change = (what) => { Object.assign(state, what); context.refresh(); };
  const here = 'of the partitions that this broker leads';
  const rows = table({
    label: 'Topics',
    key: (row) => row.name,
    empty: 'no topic is called so',
    onsort: (by) => change({ page: 0, sort: by, order: state.sort === by && state.order === (by === 'name' ? 'asc' : 'desc') ? (by === 'name' ? 'desc' : 'asc') : by === 'name' ? 'asc' : 'desc' }),
    columns: [
      { title: 'Topic', sort: 'name', cell: (row) => h('a', { href: `#/topics/${encodeURIComponent(row.name)}` }, row.name) },
      { title: 'Partitions', num: true, sort: 'partitions', cell: (row) => whole(row.partitions) },
      { title: 'Led here', num: true, cell: (row) => whole(row.led_here) },
      { title: 'Produced', num: true, sort: 'in', help: here, cell: (row) => known(quiet(sizeRate(row.bytes_in), row.bytes_in)) },
      { title: 'Records', num: true, sort: 'records', help: here, cell: (row) => known(quiet(perSecond(row.records_in), row.records_in)) },
      { title: 'Fetched', num: true, sort: 'out', help: here, cell: (row) => known(quiet(sizeRate(row.bytes_out), row.bytes_out)) },
      { title: 'Stored', num: true, sort: 'stored', help: `in segments and WAL, ${here}`, cell: (row) => known(quiet(size(row.stored_bytes), row.stored_bytes)) },
      { title: 'In memory', num: true, sort: 'memory', help: here, cell: (row) => known(quiet(size(row.memory_bytes), row.memory_bytes)) },
      { title: 'Cleanup', cell: (row) => row.cleanup },
      { title: '', cell: (row) => [row.leaderless > 0 && badge(`${row.leaderless} without a leader`, 'bad'), row.damaged_segments > 0 && badge(`${row.damaged_segments} damaged`, 'bad')] },
    ],
  });
  const pages = pager((page) => change({ page }));
  const create = h('button', { type: 'button', hidden: true, onclick: () => createTopic(context) }, 'Create topic');
  const root = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Topics'), searchBox('Search topics', '', (search) => change({ search, page: 0 })), h('span', { class: 'spring' }), create),
    panel('Topics', { body: false, note: 'rates and sizes are of partitions that this broker leads' }, rows.element, pages.element));
  return {
    root,
    url: () => `/api/v1/topics${query(state)}`,
    render(data, summary) {
      rows.render(data.rows, { by: state.sort, order: state.order });
      pages.render(data.page, data.per, data.matched, data.total, 'topics');
      create.hidden = !summary.is_admin;
    },
  };
}

function createTopic(context) {
  const name = h('input', { name: 'name', required: true, maxLength: 249, autocomplete: 'off', pattern: '[A-Za-z0-9._\\-]+' });
  const partitions = h('input', { name: 'partitions', type: 'number', min: 1, max: 10000, value: 1, required: true });
  ask('Create a topic', h('div', { class: 'form' }, h('label', { class: 'grow' }, 'Name', name), h('label', {}, 'Partitions', partitions)), 'Create', async () => {
    await context.send('POST', '/api/v1/topics', { name: name.value, partitions: Number(partitions.value) });
    location.hash = `#/topics/${encodeURIComponent(name.value)}`;
  });
}
