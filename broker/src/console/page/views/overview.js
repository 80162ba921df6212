// How this broker is, and what goes through it.

import { h, panel, facts, badge, bar, setText } from '../dom.js';
import { lineChart } from '../charts.js';
import { table } from '../table.js';
import { known, sizeParts, size, sizeRate, perSecond, short, whole, ms, percent, span } from '../format.js';

function tile(label, hint) {
  const [value, unit, sub] = [h('span'), h('small'), h('div', { class: 'sub' }, hint ?? '')];
  const element = h('div', { class: 'tile' }, h('div', { class: 'label' }, label), h('div', { class: 'value' }, value, unit), sub);
  return {
    element,
    set(number, of, more) {
      setText(value, number ?? '–');
      setText(unit, number === null || number === undefined ? '' : of);
      if (more !== undefined) setText(sub, more);
    },
  };
}

/** The shards, as other views show them too. */
export function shardTable() {
  return table({
    label: 'Shards',
    key: (row) => row.shard,
    columns: [
      { title: 'Shard', cell: (row) => String(row.shard) },
      { title: 'Core used', help: 'processor time of its thread over ten seconds',
        cell: (row) => (row.utilization === null ? known(null) : [bar(row.utilization), percent(row.utilization)]) },
      { title: 'Partitions', num: true, cell: (row) => whole(row.partitions) },
      { title: 'Connections', num: true, cell: (row) => whole(row.connections) },
      { title: 'In flight', num: true, help: 'requests read and not answered', cell: (row) => whole(row.requests_in_flight) },
      { title: 'Waiting', num: true, help: 'fetches that wait for records', cell: (row) => whole(row.fetch_waiters) },
      { title: 'Memory', num: true, help: 'requests, unacknowledged batches and unsent replies, of the budget',
        cell: (row) => `${size(row.memory.request_bytes + row.memory.unacknowledged_bytes + row.memory.unsent_bytes)} of ${size(row.memory.budget_bytes)}` },
      { title: 'Cache', num: true,
        cell: (row) => `${size(row.cache.tail_bytes + row.cache.place_bytes + row.cache.chunk_bytes)} of ${size(row.cache.budget_bytes)}` },
      { title: 'Stalls', num: true, help: 'turns of its loop above 500 µs since the session began', cell: (row) => whole(row.stalls) },
    ],
  });
}

export function overview() {
  const tiles = {
    in: tile('Produced'), out: tile('Fetched'), records: tile('Records in'), requests: tile('Requests'),
    produce: tile('Produce p99'), fetch: tile('Fetch hit p99'), hits: tile('Served from memory', 'of reads'),
  };
  const traffic = lineChart({ title: 'Throughput', base: 1024, format: sizeRate,
    series: [{ name: 'produced', kind: 'one' }, { name: 'fetched', kind: 'two' }] });
  const requests = lineChart({ title: 'Requests', format: perSecond,
    series: [{ name: 'Produce', kind: 'one' }, { name: 'Fetch', kind: 'two' }, { name: 'PUT to the store', kind: 'three' }] });
  const shards = shardTable();
  const lag = table({
    label: 'Largest lags',
    key: (row) => `${row.group}\n${row.topic}`,
    empty: 'no group of this broker has committed an offset',
    columns: [
      { title: 'Group', cell: (row) => h('a', { href: `#/groups/${encodeURIComponent(row.group)}` }, row.group) },
      { title: 'Topic', cell: (row) => h('a', { href: `#/topics/${encodeURIComponent(row.topic)}` }, row.topic) },
      { title: 'Records behind', num: true, cell: (row) => whole(row.records) },
    ],
  });
  const about = h('div', { class: 'body' });
  const root = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Overview'), h('span', { class: 'note' }, 'figures of this broker, over 10 s; percentiles over the last minute')),
    h('div', { class: 'tiles' }, Object.values(tiles).map((it) => it.element)),
    h('div', { class: 'cols' },
      panel('Throughput', { extra: traffic.legend }, traffic.element),
      panel('Requests', { extra: requests.legend }, requests.element)),
    panel('Shards', { body: false, note: 'one thread a core' }, shards.element),
    h('div', { class: 'cols' },
      panel('This broker', { body: false }, about),
      panel('Largest lags', { body: false }, lag.element)));

  function render(data) {
    const { now, series, broker, cluster, store } = data;
    const rate = (which, bytes, more) => (bytes === null ? which.set(null) : which.set(sizeParts(bytes)[0], `${sizeParts(bytes)[1]}/s`, more));
    const latency = (name) => data.latency.find((row) => row.name === name);
    const time = (which, row, more) => {
      const [number, unit] = (ms(row.p99_ms) ?? '').split(' ');
      which.set(number || null, unit, more ?? `p50 ${ms(row.p50_ms) ?? '–'}`);
    };
    rate(tiles.in, now.bytes_in, 'acknowledged');
    rate(tiles.out, now.bytes_out, 'sent to consumers');
    tiles.records.set(short(now.records_in), '/s', 'acknowledged');
    tiles.requests.set(now.produces === null ? null : short(now.produces + now.fetches), '/s', `${short(now.produces) ?? '–'} of them Produce`);
    time(tiles.produce, latency('produce'));
    time(tiles.fetch, latency('fetch_hit'));
    tiles.hits.set(now.hit_ratio === null ? null : (now.hit_ratio * 100).toFixed(1), '%');
    traffic.render(series.times_ms, [series.bytes_in, series.bytes_out]);
    requests.render(series.times_ms, [series.produces, series.fetches, series.puts]);
    shards.render(data.shards);
    lag.render(data.lag);
    const state = badge(store.state, { healthy: 'good', degraded: 'warn' }[store.state] ?? 'bad');
    const missing = cluster.leaderless_partitions;
    about.replaceChildren(facts([
      ['Cluster', [`${whole(cluster.brokers)} ${cluster.brokers === 1 ? 'broker' : 'brokers'}, ${whole(cluster.topics)} topics, ${whole(cluster.partitions)} partitions `,
        missing > 0 && badge(`${whole(missing)} without a leader`, 'bad')]],
      ['Cluster id', h('span', { class: 'mono' }, cluster.id)],
      ['Led by this broker', `${whole(broker.owned_partitions)} partitions`],
      ['Object store', [state, ` ${ms(store.latency_ms)} on average, ${percent(store.error_rate)} failed`]],
      ['WAL backlog', `${whole(store.wal_backlog_objects)} of ${whole(store.wal_backlog_limit)} objects`],
      ['Flush', `p50 ${ms(latency('flush').p50_ms) ?? '–'}, p99 ${ms(latency('flush').p99_ms) ?? '–'}`],
      ['Data', broker.place],
      ['Up', `${span(broker.uptime_s)}, ${whole(broker.connections)} connections, ${broker.driver}`],
    ]));
  }
  return { root, render, url: () => '/api/v1/overview' };
}
