// A table whose rows are kept while their contents change, so that focus, selection and scrolling stay.

import { h, setText } from './dom.js';

/**
 * A table. `columns`: `{ name, title, cell(row), num, sort, class, help }`; `key(row)` tells rows apart.
 * `sorted`: `{ by, order }`, changed through `onsort(by)`.
 */
export function table({ columns, key, label, empty = 'nothing', onsort }) {
  const heads = columns.map((column) => {
    const content = column.sort && onsort
      ? h('button', { type: 'button', onclick: () => onsort(column.sort) }, column.title)
      : column.title;
    return h('th', { scope: 'col', class: column.num ? 'num' : '', title: column.help }, content);
  });
  const body = h('tbody');
  const element = h('div', { class: 'scroll' }, h('table', { 'aria-label': label }, h('thead', {}, h('tr', {}, heads)), body));
  const kept = new Map();
  element.addEventListener('keydown', (event) => move(event, body));

  function cells(row, made) {
    columns.forEach((column, index) => {
      const value = column.cell(row);
      const cell = made.children[index];
      if (value instanceof Node || Array.isArray(value)) {
        // Links keep focus: only what they say changes.
        const old = cell.firstElementChild;
        if (value instanceof HTMLAnchorElement && old instanceof HTMLAnchorElement && cell.childNodes.length === 1) {
          if (old.getAttribute('href') !== value.getAttribute('href')) old.setAttribute('href', value.getAttribute('href'));
          setText(old, value.textContent);
        } else if (!(value instanceof Node && old && cell.childNodes.length === 1 && old.isEqualNode(value))) {
          cell.replaceChildren(...[value].flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
        }
      } else if (cell.childElementCount > 0) {
        cell.replaceChildren(String(value));
      } else {
        setText(cell, String(value));
      }
    });
  }

  function render(rows, sorted) {
    const seen = new Set();
    let before = null;
    for (const row of rows) {
      const id = key(row);
      seen.add(id);
      let made = kept.get(id);
      if (!made) {
        made = h('tr', {}, columns.map((column) => h('td', { class: `${column.num ? 'num' : ''} ${column.class ?? ''}`.trim() })));
        kept.set(id, made);
      }
      cells(row, made);
      const after = before ? before.nextSibling : body.firstChild;
      if (after !== made) body.insertBefore(made, after);
      before = made;
    }
    for (const [id, made] of kept) {
      if (!seen.has(id)) { made.remove(); kept.delete(id); }
    }
    body.querySelector('.nothing')?.remove();
    if (rows.length === 0) body.append(h('tr', { class: 'nothing' }, h('td', { class: 'empty', colSpan: columns.length }, empty)));
    if (sorted) {
      columns.forEach((column, index) => {
        if (column.sort === sorted.by) heads[index].setAttribute('aria-sort', sorted.order === 'desc' ? 'descending' : 'ascending');
        else heads[index].removeAttribute('aria-sort');
      });
    }
  }

  return { element, render };
}

/** Arrow keys go from row to row. */
function move(event, body) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.closest('tbody')) return;
  const links = [...body.querySelectorAll('tr > td:first-child a')];
  const at = links.indexOf(event.target.closest('tr')?.querySelector('td:first-child a'));
  const next = links[at + step];
  if (at < 0 || !next) return;
  event.preventDefault();
  next.focus();
}

/** Buttons to the pages of a list. `go(page)` is told which. */
export function pager(go) {
  const text = h('span');
  const [previous, next] = [
    h('button', { type: 'button', onclick: () => go(page - 1) }, 'Previous'),
    h('button', { type: 'button', onclick: () => go(page + 1) }, 'Next'),
  ];
  let page = 0;
  const element = h('div', { class: 'pager', role: 'navigation', 'aria-label': 'Pages' }, text, h('span', { class: 'spring' }), previous, next);
  return {
    element,
    render(now, per, matched, total, what) {
      page = now;
      const [first, last] = [matched === 0 ? 0 : page * per + 1, Math.min(matched, (page + 1) * per)];
      const of = matched === total ? `${total.toLocaleString('en-US')} ${what}` : `${matched.toLocaleString('en-US')} found of ${total.toLocaleString('en-US')} ${what}`;
      setText(text, matched > per ? `${first}–${last} of ${of}` : of);
      previous.disabled = page === 0;
      next.disabled = last >= matched;
      previous.hidden = next.hidden = matched <= per;
    },
  };
}
