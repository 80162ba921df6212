// The object store: health, requests, cost, and what lies there.

import { h, panel, facts, badge, bar } from '../dom.js';
import { table } from '../table.js';
import { known, size, sizeRate, whole, ms, percent, dollars, span } from '../format.js';

const STATES = { healthy: 'good', degraded: 'warn', unavailable: 'bad' };

export function storage() {
  const operations = table({
    label: 'Requests to the store',
    key: (row) => row.name,
    columns: [
      { title: 'Request', cell: (row) => row.name },
      { title: 'Now', num: true, cell: (row) => known(row.per_second === null ? null : `${row.per_second.toFixed(2)}/s`) },
      { title: 'In all', num: true, cell: (row) => whole(row.total) },
      { title: 'Failed', num: true, cell: (row) => (row.errors > 0 ? badge(whole(row.errors), 'warn') : '0') },
      { title: 'A month', num: true, cell: (row) => known(dollars(row.dollars_per_month), 'no cost by request') },
    ],
  });
  const [health, wal, segments] = [0, 1, 2].map(() => h('div', { class: 'body' }));
  const [total, price] = [h('b'), h('span', { class: 'note' })];
  const root = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Storage'), h('span', { class: 'note' }, 'as this broker sees it')),
    h('div', { class: 'cols' },
      panel('Health', { body: false }, health),
      panel('Requests', { body: false, extra: total }, operations.element, h('div', { class: 'pager' }, price))),
    h('div', { class: 'cols' }, panel('WAL', { body: false }, wal), panel('Segments', { body: false }, segments)));

  function render(data) {
    const { thresholds: limit, wal: log, segments: kept } = data;
    health.replaceChildren(facts([
      ['State', [badge(data.state, STATES[data.state]), ` for ${span(data.state_lasts_s)}`]],
      ['Produce', data.produce_refused === null ? badge('accepted', 'good') : [badge('refused', 'bad'), ` ${data.produce_refused}`]],
      ['Latency', `${ms(data.latency_ms)} on average over ${span(limit.window_s)}; degraded from ${ms(limit.latency_warn_ms)}, unavailable from ${ms(limit.latency_crit_ms)}`],
      ['Failures', `${percent(data.error_rate)}; degraded above ${percent(limit.error_rate_warn)}, unavailable above ${percent(limit.error_rate_crit)}`],
      ['Last failure', known(data.last_failure, 'none within the window')],
      ['Sent again', `${whole(data.retries)} requests`],
      ['Written', [`${size(data.bytes_written.total)}, `, known(sizeRate(data.bytes_written.per_second))]],
      ['Read', [`${size(data.bytes_read.total)}, `, known(sizeRate(data.bytes_read.per_second))]],
      ['Place', data.place],
    ]));
    operations.render(data.operations);
    total.replaceChildren(data.is_s3 ? `${dollars(data.dollars_per_month) ?? '–'} a month` : '');
    price.replaceChildren(data.is_s3
      ? 'an estimate: the last minute for 730 hours at the list price of S3 Standard, us-east-1; storage and transfer not counted'
      : 'a local directory: requests cost nothing');
    const part = log.backlog_limit > 0 ? log.backlog_objects / log.backlog_limit : 0;
    wal.replaceChildren(facts([
      ['Backlog', [bar(part), `${whole(log.backlog_objects)} of ${whole(log.backlog_limit)} objects, ${size(log.backlog_bytes)}`]],
      ['Flush interval', ms(data.flush_interval_ms)],
      ['Written', `${whole(log.written)} objects`],
      ['Deleted', `${whole(log.deleted)} objects`],
      ['Garbage', `${size(log.garbage_bytes)} to be deleted; ${size(log.unknown_bytes)} of unknown sessions, left alone`],
    ]));
    segments.replaceChildren(facts([
      ['Segments', `${whole(kept.count)}, ${size(kept.bytes)}`],
      ['Damaged', kept.damaged > 0 ? badge(whole(kept.damaged), 'bad') : 'none'],
      ['Compactions', `${whole(kept.compactions)}, ${whole(kept.failed)} failed`],
      ['Merged, rewritten', `${whole(kept.merges)}, ${whole(kept.rewrites)}`],
      ['Deleted', whole(kept.deleted)],
    ]));
  }
  return { root, render, url: () => '/api/v1/store' };
}
