// Elements without markup in strings: what comes from the cluster is only ever text.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.setAttribute('class', value);
    else if (name in element && name !== 'list' && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element: `h('a', { href, class }, 'text', other)`. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** An element of a drawing. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Sets a text if it has changed, so that what is selected or read aloud stays. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A panel with a title. */
export function panel(title, { note, extra, body } = {}, ...children) {
  const heading = h('header', {}, h('h2', {}, title), extra, note && h('span', { class: 'note' }, note));
  return h('section', { class: 'panel', 'aria-label': title }, heading, body === false ? children : h('div', { class: 'body' }, children));
}

/** Pairs of a name and what it is. */
export function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

/** A word in color. */
export const badge = (text, kind) => h('span', { class: `badge ${kind ?? ''}` }, text);

/** A part of a whole. */
export function bar(part) {
  const inner = h('i', { class: part > 0.95 ? 'full' : part > 0.8 ? 'high' : '' });
  inner.style.width = `${Math.min(100, Math.max(0, part * 100))}%`;
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
}
