// One topic: its partitions, its settings, its messages.

import { h, panel, badge } from '../dom.js';
import { table, pager } from '../table.js';
import { query } from '../api.js';
import { ask } from '../app.js';
import { messages } from './messages.js';
import { known, size, sizeRate, perSecond, whole } from '../format.js';

const PER = 100;

/** The head that the parts of a topic share. */
function head(name, part) {
  const base = `#/topics/${encodeURIComponent(name)}`;
  const tab = (title, to, is) => h('a', { href: to, 'aria-current': is ? 'page' : null }, title);
  const extra = h('span', { class: 'note' });
  const actions = h('span', { class: 'actions' });
  const element = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, h('a', { class: 'crumb', href: '#/topics' }, 'Topics'), h('span', { class: 'crumb' }, ' / '), name), extra, h('span', { class: 'spring' }), actions),
    h('nav', { class: 'tabs', 'aria-label': 'Parts of the topic' },
      tab('Partitions', base, part === undefined), tab('Messages', `${base}/messages`, part === 'messages'), tab('Settings', `${base}/settings`, part === 'settings')));
  return { element, extra, actions };
}

export function topic(context) {
  const [name, part] = context.path;
  if (part === 'messages') {
    const top = head(name, part);
    const view = messages(context, name);
    return { ...view, root: h('div', {}, top.element, view.root) };
  }
  if (part === 'settings') return settings(name);
  return partitions(context, name);
}

function partitions(context, name) {
  const top = head(name);
  let from = 0;
  const of = (pick, show) => (row) => known(row.here && show(pick(row.here)), row.here ? 'not known yet' : 'its leader knows');
  const link = (row) => h('a', { href: `#/topics/${encodeURIComponent(name)}/messages?partition=${row.partition}` }, String(row.partition));
  const rows = table({
    label: `Partitions of ${name}`,
    key: (row) => row.partition,
    columns: [
      { title: 'Partition', cell: link },
      { title: 'Leader', cell: (row) => (row.leader === null ? badge('nobody', 'bad') : [`broker ${row.leader}`, h('span', { class: 'mute' }, ` epoch ${row.leader_epoch}`)]) },
      { title: 'Shard', num: true, cell: of((it) => it.shard, String) },
      { title: 'Log start', num: true, cell: (row) => known(whole(row.log_start)) },
      { title: 'High watermark', num: true, cell: (row) => known(whole(row.high_watermark)) },
      { title: 'Produced', num: true, cell: of((it) => it.bytes_in, sizeRate) },
      { title: 'Records', num: true, cell: of((it) => it.records_in, perSecond) },
      { title: 'Fetched', num: true, cell: of((it) => it.bytes_out, sizeRate) },
      { title: 'Segments', num: true, cell: (row) => known(row.here && [`${whole(row.here.segments)}, ${size(row.here.segment_bytes)}`, row.here.damaged_segments > 0 && [' ', badge(`${row.here.damaged_segments} damaged`, 'bad')]], 'its leader knows') },
      { title: 'WAL', num: true, help: 'sections that no segment holds yet', cell: of((it) => it, (it) => `${whole(it.wal_sections)}, ${size(it.wal_bytes)}`) },
      { title: 'In memory', num: true, cell: of((it) => it.memory_bytes, size) },
      { title: 'Producers', num: true, help: 'idempotent producers known', cell: of((it) => it.producers, whole) },
    ],
  });
  const pages = pager((page) => { from = page * PER; context.refresh(); });
  const note = h('div', { class: 'notice', hidden: true });
  const remove = h('button', { type: 'button', class: 'danger', hidden: true, onclick: () => deleteTopic(context, name) }, 'Delete topic');
  top.actions.append(remove);
  return {
    root: h('div', {}, top.element, note, panel('Partitions', { body: false }, rows.element, pages.element)),
    url: () => `/api/v1/topics/${encodeURIComponent(name)}${query({ from, limit: PER })}`,
    render(data, summary) {
      const set = Object.entries(data.configs).map(([key, value]) => `${key}=${value}`).join(', ');
      top.extra.textContent = `${whole(data.partitions)} partitions, ${whole(data.led_here)} led here; id ${data.id}${set ? `; ${set}` : ''}`;
      note.hidden = data.note === null;
      note.textContent = data.note === null ? '' : `The leaders of other partitions could not be asked: ${data.note}`;
      rows.render(data.rows);
      pages.render(Math.floor(data.from / PER), PER, data.partitions, data.partitions, 'partitions');
      remove.hidden = !summary.is_admin;
    },
  };
}

function deleteTopic(context, name) {
  const typed = h('input', { autocomplete: 'off', required: true, 'aria-label': 'Name of the topic' });
  typed.addEventListener('input', () => typed.setCustomValidity(typed.value === name ? '' : 'This is not the name of the topic'));
  ask('Delete the topic', [h('p', {}, 'All its records will be gone, for every consumer. Type its name: ', h('b', {}, name)), typed], 'Delete', async () => {
    await context.send('DELETE', `/api/v1/topics/${encodeURIComponent(name)}${query({ confirm: typed.value })}`);
    location.hash = '#/topics';
  }, 'danger');
}

function settings(name) {
  const top = head(name, 'settings');
  const rows = table({
    label: `Settings of ${name}`,
    key: (row) => row.name,
    columns: [
      { title: 'Name', class: 'mono', cell: (row) => row.name },
      { title: 'Value', class: 'mono', cell: (row) => known(row.value, 'empty') },
      { title: '', cell: (row) => (row.is_set ? badge('set', 'info') : h('span', { class: 'mute' }, 'default')) },
      { title: 'Meaning', class: 'wide mute', cell: (row) => row.about },
    ],
  });
  return {
    root: h('div', {}, top.element, panel('Settings', { body: false }, rows.element)),
    url: () => `/api/v1/topics/${encodeURIComponent(name)}/configs`,
    every: 10_000,
    render: (data) => rows.render(data.rows),
  };
}
