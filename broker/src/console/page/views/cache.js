// What lies in memory: a heat map of partitions by shard.

import { h, panel, bar, setText } from '../dom.js';
import { table } from '../table.js';
import { known, size, whole, perSecond, percent, sizeRate } from '../format.js';

const STEPS = 6;

/** The squares of one shard: one stop for the Tab key, arrow keys go from one to the next. */
function map(label, tell) {
  const element = h('div', { class: 'heat squares', role: 'toolbar', 'aria-label': label });
  const kept = new Map();
  element.addEventListener('keydown', (event) => {
    const all = [...element.children];
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    const next = step && all[Math.max(0, Math.min(all.length - 1, all.indexOf(event.target) + step))];
    if (!next) return;
    event.preventDefault();
    all.forEach((it) => { it.tabIndex = it === next ? 0 : -1; });
    next.focus();
  });
  function render(rows, most) {
    const seen = new Set();
    rows.forEach((row, index) => {
      const id = `${row.topic}-${row.partition}`;
      seen.add(id);
      let square = kept.get(id);
      if (!square) {
        square = h('button', { type: 'button', tabIndex: -1, onclick: () => { location.hash = `#/topics/${encodeURIComponent(row.topic)}`; } });
        square.addEventListener('focus', () => tell(square.row));
        square.addEventListener('pointerenter', () => tell(square.row));
        kept.set(id, square);
      }
      square.row = row;
      const step = row.memory_bytes === 0 ? 0 : Math.max(1, Math.ceil((Math.log(row.memory_bytes + 1) / Math.log(most + 1)) ** 4 * STEPS));
      square.className = `h${Math.min(STEPS, step)}${row.misses_per_s > 0 ? ' cold' : ''}`;
      square.setAttribute('aria-label', `${id}: ${size(row.memory_bytes)} in memory`);
      if (element.children[index] !== square) element.insertBefore(square, element.children[index] ?? null);
    });
    for (const [id, square] of kept) {
      if (!seen.has(id)) { square.remove(); kept.delete(id); }
    }
    if (element.firstChild && !element.querySelector('[tabindex="0"]')) element.firstChild.tabIndex = 0;
  }
  return { element, render };
}

export function cache() {
  const detail = h('div', { class: 'heat-detail', role: 'status' }, 'point at a square, or go there with Tab and the arrow keys');
  const tell = (row) => setText(detail, `${row.topic}-${row.partition}: ${size(row.memory_bytes)} in memory, ${size(row.stored_bytes)} stored; ${perSecond(row.hits_per_s) ?? '–'} hits, ${perSecond(row.misses_per_s) ?? '–'} misses`);
  const maps = new Map();
  const [place, rest] = [h('div'), h('span', { class: 'note' })];
  const shards = table({
    label: 'Cache by shard',
    key: (row) => row.shard,
    columns: [
      { title: 'Shard', cell: (row) => String(row.shard) },
      { title: 'Used', cell: ({ cache: it }) => { const used = it.tail_bytes + it.place_bytes + it.chunk_bytes; return [bar(used / Math.max(1, it.budget_bytes)), `${size(used)} of ${size(it.budget_bytes)}`]; } },
      { title: 'Tail', num: true, help: 'batches as they came', cell: (row) => size(row.cache.tail_bytes) },
      { title: 'Places', num: true, help: 'where sections lie that no segment holds', cell: (row) => size(row.cache.place_bytes) },
      { title: 'Chunks', num: true, help: 'what was read back from the store', cell: (row) => size(row.cache.chunk_bytes) },
      { title: 'Tail hits', num: true, cell: ({ cache: it }) => known(percent(it.tail_hits + it.tail_misses > 0 ? it.tail_hits / (it.tail_hits + it.tail_misses) : null), 'nothing was read') },
      { title: 'Chunk hits', num: true, cell: ({ cache: it }) => known(percent(it.chunk_hits + it.chunk_misses > 0 ? it.chunk_hits / (it.chunk_hits + it.chunk_misses) : null), 'nothing was read') },
    ],
  });
  const top = table({
    label: 'Largest in memory',
    key: (row) => `${row.topic}\n${row.partition}`,
    empty: 'nothing is in memory',
    columns: [
      { title: 'Partition', cell: (row) => h('a', { href: `#/topics/${encodeURIComponent(row.topic)}` }, `${row.topic}-${row.partition}`) },
      { title: 'Shard', num: true, cell: (row) => String(row.shard) },
      { title: 'In memory', num: true, cell: (row) => size(row.memory_bytes) },
      { title: 'Stored', num: true, cell: (row) => size(row.stored_bytes) },
      { title: 'Hits', num: true, cell: (row) => known(perSecond(row.hits_per_s)) },
      { title: 'Misses', num: true, cell: (row) => known(perSecond(row.misses_per_s)) },
      { title: 'Fetched', num: true, cell: (row) => known(sizeRate(row.bytes_out)) },
    ],
  });
  const scale = h('span', { class: 'scale heat', 'aria-hidden': 'true' }, 'less ', [1, 2, 3, 4, 5, 6].map((step) => h('i', { class: `h${step}` })), ' more in memory; framed: read from the store now');
  const root = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Cache'), rest),
    panel('Budget', { body: false }, shards.element),
    panel('Partitions by shard', { extra: scale }, place, detail),
    panel('Largest in memory', { body: false }, top.element));

  function render(data) {
    shards.render(data.shards);
    const most = Math.max(1, ...data.partitions.map((row) => row.memory_bytes));
    for (const { shard } of data.shards) {
      let one = maps.get(shard);
      if (!one) {
        one = map(`Partitions of shard ${shard}`, tell);
        maps.set(shard, one);
        place.append(h('div', { class: 'part' }, `Shard ${shard}`), one.element);
      }
      const rows = data.partitions.filter((row) => row.shard === shard);
      rows.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1));
      one.render(rows, most);
    }
    top.render(data.partitions.slice(0, 20));
    const more = data.left_out;
    setText(rest, more.partitions > 0 ? `the ${whole(data.partitions.length)} largest; ${whole(more.partitions)} others hold ${size(more.memory_bytes)}` : `${whole(data.partitions.length)} partitions in memory or read`);
  }
  return { root, render, url: () => '/api/v1/cache' };
}
