// Brokers that live, and this one in detail.

import { h, panel, facts, badge } from '../dom.js';
import { table } from '../table.js';
import { shardTable } from './overview.js';
import { known, size, whole, ms, span } from '../format.js';

const STATES = { healthy: 'good', degraded: 'warn', unavailable: 'bad', draining: 'warn' };

export function cluster() {
  const brokers = table({
    label: 'Brokers',
    key: (row) => row.session,
    columns: [
      { title: 'Broker', cell: (row) => [String(row.id), row.is_this && [' ', badge('this one', 'info')]] },
      { title: 'State', cell: (row) => [badge(row.state, STATES[row.state]), row.is_drained && [' ', badge('drained', 'warn')]] },
      { title: 'Address', cell: (row) => row.listeners.map((it) => `${it.name ? `${it.name} ` : ''}${it.address}`).join(', ') },
      { title: 'Direct ports', cell: (row) => known(row.listeners.flatMap((it) => it.shard_ports).join(', '), 'no direct routing') },
      { title: 'Rack', cell: (row) => known(row.rack, 'no rack is set') },
      { title: 'Leads', num: true, cell: (row) => whole(row.partitions) },
      { title: 'Group slots', num: true, cell: (row) => whole(row.group_slots) },
      { title: 'Session', class: 'mono', cell: (row) => row.session },
    ],
  });
  const shards = shardTable();
  const [about, note] = [h('div', { class: 'body' }), h('span', { class: 'note' })];
  const root = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Cluster'), note),
    panel('Live brokers', { body: false, note: 'one whose session has ended is not here: others take what it led' }, brokers.element),
    panel('This broker', { body: false }, about),
    panel('Shards of this broker', { body: false }, shards.element));

  function render(data) {
    const { this: own } = data;
    note.replaceChildren(`${data.name}, id ${data.id}, ${data.commit_mode} commits`,
      data.leaderless_partitions > 0 ? [' ', badge(`${whole(data.leaderless_partitions)} partitions without a leader`, 'bad')][1] : '');
    brokers.render(data.brokers);
    shards.render(data.shards);
    about.replaceChildren(facts([
      ['Broker', `${own.id}, version ${own.version}, up ${span(own.uptime_s)}`],
      ['Session', h('span', { class: 'mono' }, own.session)],
      ['Sessions begun', `${whole(own.sessions)} since the process started; ${whole(own.keep_alive_errors)} keep-alives failed`],
      ['Moves', `${whole(own.takeovers)} partitions taken over, ${whole(own.releases)} given away`],
      ['Data', own.place],
      ['Shards', `${whole(own.shards)}, ${own.driver}`],
      ['Console and metrics', own.admin],
      ['Flush interval', ms(own.flush_interval_ms)],
      ['Segments of', size(own.segment_bytes)],
      ['Session time to live', ms(own.session_ttl_ms)],
    ]));
  }
  return { root, render, url: () => '/api/v1/cluster' };
}
