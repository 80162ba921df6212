// Distributions of latency over the last minute.

import { h, panel, setText } from '../dom.js';
import { histogram } from '../charts.js';
import { ms, whole, perSecond } from '../format.js';

const TITLES = {
  produce: ['Produce', 'request read to reply queued, the flush included'],
  fetch_hit: ['Fetch, from memory', 'request read to reply queued'],
  fetch_miss: ['Fetch, from the store', 'request read to reply queued'],
  hop: ['Hop', 'a request to another shard and its answer'],
  flush: ['Flush', 'start of a flush to its acknowledgement'],
  put: ['PUT', 'one request to the store'],
  get: ['GET', 'one request to the store'],
};

export function latency() {
  const kept = new Map();
  const place = h('div', { class: 'cols' });
  const root = h('div', {}, h('div', { class: 'head' }, h('h1', {}, 'Latency'), h('span', { class: 'note' }, 'of this broker, over the last minute; dashed: p50, p90, p99, p99.9')), place);

  function render(data) {
    for (const row of data.rows) {
      let one = kept.get(row.name);
      const [title, what] = TITLES[row.name] ?? [row.name, ''];
      if (!one) {
        const chart = histogram({ title });
        const figures = h('div', { class: 'figures' });
        one = { chart, figures };
        kept.set(row.name, one);
        place.append(panel(title, { note: what }, figures, chart.element));
      }
      const named = data.fractions.map((part, index) => [`p${part * 100}`, row.quantiles_ms[index]]);
      one.chart.render(row.buckets, named);
      if (one.figures.childElementCount === 0) {
        for (let number = 0; number <= named.length; number += 1) one.figures.append(h('div', {}, h('b')));
      }
      named.forEach(([name, value], index) => {
        const figure = one.figures.children[index];
        if (figure.childNodes.length === 1) figure.prepend(`${name} `);
        setText(figure.lastChild, ms(value) ?? '–');
      });
      setText(one.figures.lastChild.lastChild, `${whole(row.count)} in ${Math.round(row.over_s)} s${row.over_s > 0 ? `, ${perSecond(row.count / row.over_s)}` : ''}`);
    }
  }
  return { root, render, url: () => '/api/v1/latency' };
}
