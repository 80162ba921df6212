// Drawings: lines over time, bars over latency. Each says in words what it shows.

import { s, h, setText } from './dom.js';
import { clock, ms } from './format.js';

const [WIDTH, LEFT, RIGHT, TOP, BOTTOM] = [640, 62, 10, 10, 22];

/** A round number at or above a value. */
function ceiling(value, base) {
  if (value <= 0) return 1;
  const step = base ** Math.floor(Math.log(value) / Math.log(base));
  const steps = base === 1024 ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10];
  return steps.map((many) => many * step).find((many) => many >= value) ?? value;
}

/** Lines over time. `series`: names and classes; `format` writes a value; `base` is that of its units. */
export function lineChart({ title, series, format, base = 10, height = 170 }) {
  const bottom = height - BOTTOM;
  const svg = s('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': title });
  const legend = h('div', { class: 'legend' });
  const values = series.map(({ name, kind }) => {
    const value = h('b');
    legend.append(h('span', { class: kind }, `${name} `, value));
    return value;
  });
  const [grid, lines] = [s('g'), s('g')];
  const cross = s('line', { class: 'cross', y1: TOP, y2: bottom, visibility: 'hidden' });
  svg.append(grid, lines, cross);
  let [times, data, top] = [[], [], 1];

  const x = (index) => LEFT + (index / Math.max(1, times.length - 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => bottom - (value / top) * (bottom - TOP);

  function tell(index) {
    values.forEach((element, number) => setText(element, index < 0 ? '–' : format(data[number][index]) ?? '–'));
  }

  function render(at, all) {
    [times, data] = [at, all];
    top = ceiling(Math.max(0, ...all.flat()), base);
    const marks = [0, 0.5, 1].map((part) => [
      s('line', { class: part === 0 ? 'axis' : 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: y(top * part), y2: y(top * part) }),
      s('text', { x: LEFT - 7, y: y(top * part) + 4, 'text-anchor': 'end' }, format(top * part)),
    ]);
    const last = times.length - 1;
    const ticks = times.length < 2 ? [] : [[0, 'start'], [Math.floor(last / 2), 'middle'], [last, 'end']].map(([index, anchor]) =>
      s('text', { x: x(index), y: height - 6, 'text-anchor': anchor }, clock(times[index])));
    grid.replaceChildren(...marks.flat(), ...ticks);
    lines.replaceChildren(...all.flatMap((row, number) => {
      if (row.length < 2) return [];
      const path = row.map((value, index) => `${index ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join('');
      const { kind } = series[number];
      return [s('path', { class: `area ${kind}`, d: `${path}L${x(last)} ${bottom}L${LEFT} ${bottom}Z` }), s('path', { class: `line ${kind}`, d: path })];
    }));
    tell(last);
    const words = series.map(({ name }, number) => `${name} ${last < 0 ? 'not known' : format(data[number][last])}`);
    svg.setAttribute('aria-label', `${title}, now: ${words.join(', ')}`);
  }

  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width) * WIDTH;
    const index = Math.round(((part - LEFT) / (WIDTH - LEFT - RIGHT)) * (times.length - 1));
    if (index < 0 || index >= times.length) return;
    for (const end of ['x1', 'x2']) cross.setAttribute(end, x(index));
    cross.setAttribute('visibility', 'visible');
    tell(index);
  });
  svg.addEventListener('pointerleave', () => {
    cross.setAttribute('visibility', 'hidden');
    tell(times.length - 1);
  });
  return { element: svg, legend, render };
}

/** Bars of a distribution over a logarithmic axis of milliseconds, with marks at some quantiles. */
export function histogram({ title, height = 130 }) {
  const bottom = height - BOTTOM;
  const svg = s('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': title });
  // Eight buckets a power of two, as the broker counts.
  const step = 2 ** (1 / 8);

  function render(buckets, quantiles) {
    if (buckets.length === 0) {
      svg.replaceChildren(s('text', { x: WIDTH / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing in the last minute'));
      svg.setAttribute('aria-label', `${title}: nothing in the last minute`);
      return;
    }
    const [low, high] = [10 ** Math.floor(Math.log10(buckets[0][0] / step)), 10 ** Math.ceil(Math.log10(buckets.at(-1)[0]))];
    const x = (value) => LEFT + (Math.log(value / low) / Math.log(high / low)) * (WIDTH - LEFT - RIGHT);
    const top = Math.max(...buckets.map(([, count]) => count));
    const y = (count) => bottom - (count / top) * (bottom - TOP);
    const parts = [s('line', { class: 'axis', x1: LEFT, x2: WIDTH - RIGHT, y1: bottom, y2: bottom })];
    for (let tick = low; tick <= high * 1.001; tick *= 10) {
      parts.push(s('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: TOP, y2: bottom }));
      parts.push(s('text', { x: x(tick), y: height - 6, 'text-anchor': tick === low ? 'start' : tick * 10 > high * 1.001 ? 'end' : 'middle' }, ms(tick)));
    }
    parts.push(s('text', { x: LEFT - 7, y: TOP + 10, 'text-anchor': 'end' }, top.toLocaleString('en-US')));
    for (const [bound, count] of buckets) {
      const [from, to] = [x(Math.max(low, bound / step)), x(bound)];
      parts.push(s('rect', { class: 'one', x: from, y: y(count), width: Math.max(1, to - from - 0.6), height: Math.max(1, bottom - y(count)) },
        s('title', {}, `${count} up to ${ms(bound)}`)));
    }
    for (const [name, value] of quantiles) {
      if (value === null) continue;
      parts.push(s('line', { class: 'mark', x1: x(value), x2: x(value), y1: TOP, y2: bottom }, s('title', {}, `${name}: ${ms(value)}`)));
    }
    svg.replaceChildren(...parts);
    svg.setAttribute('aria-label', `${title}: ${quantiles.map(([name, value]) => `${name} ${ms(value) ?? 'not known'}`).join(', ')}`);
  }

  return { element: svg, render };
}
