// The messages of a topic: from an offset, a time, the end, or those of a key.

import { h, panel } from '../dom.js';
import { get, query } from '../api.js';
import { moment, size, whole } from '../format.js';

const STOPPED = {
  limit: 'as many as asked for', end: 'up to the end', time: 'stopped: it takes too long', size: 'stopped: the messages are too large',
};

/** The bytes of a part of a record. */
function bytesOf(blob) {
  if (blob.text !== undefined) return new TextEncoder().encode(blob.text);
  return Uint8Array.from(atob(blob.base64), (letter) => letter.charCodeAt(0));
}

/** Offset, hexadecimal digits and letters, sixteen bytes a line. */
export function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const some = [...bytes.slice(at, at + 16)];
    const digits = some.map((byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(47);
    const letters = some.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${digits}  ${letters}`);
  }
  return lines.join('\n');
}

/** A part of a record, in a form. */
function shown(blob, form) {
  if (blob === null) return 'null';
  if (form === 'hex' || (blob.text === undefined && form !== 'hex')) return hex(bytesOf(blob));
  if (form === 'json' && !blob.is_cut) {
    try {
      return JSON.stringify(JSON.parse(blob.text), null, 2);
    } catch {
      // It is no JSON: as it is.
    }
  }
  return blob.text;
}

/** A part of a record, on a line. */
function brief(blob) {
  if (blob === null) return h('span', { class: 'mute' }, 'null');
  if (blob.text !== undefined) return blob.text.slice(0, 300).replace(/\s+/g, ' ') || h('span', { class: 'mute' }, 'empty');
  return h('span', { class: 'mute' }, [...bytesOf(blob).slice(0, 24)].map((byte) => byte.toString(16).padStart(2, '0')).join(' '));
}

function record(row, form) {
  const parts = h('div');
  const element = h('details', { class: 'record' },
    h('summary', {},
      h('span', {}, String(row.partition)), h('span', {}, String(row.offset)),
      h('span', {}, row.timestamp_ms === null ? '–' : moment(row.timestamp_ms)),
      h('span', { class: 'payload' }, brief(row.key)), h('span', { class: 'payload' }, brief(row.value)),
      h('span', { class: 'right mute' }, row.value === null ? '' : size(row.value.bytes))),
    parts);
  function open() {
    if (!element.open) return;
    const part = (name, blob) => [
      h('div', { class: 'part' }, name, blob !== null && ` · ${size(blob.bytes)}`, blob?.is_cut && ' · the first part of it'),
      h('pre', { tabindex: '0', 'aria-label': name }, shown(blob, form())),
    ];
    parts.replaceChildren(...[part('Key', row.key), part('Value', row.value), row.headers.map((header) => part(`Header ${header.name}`, header.value)),
      row.headers_left_out > 0 ? h('div', { class: 'part' }, `${row.headers_left_out} more headers`) : []].flat(Infinity));
  }
  element.addEventListener('toggle', open);
  return { element, open };
}

export function messages(context, name) {
  const path = `/api/v1/topics/${encodeURIComponent(name)}/messages`;
  const select = (options, value) => h('select', {}, options.map(([key, title]) => h('option', { value: key, selected: key === value }, title)));
  const partition = h('input', { type: 'number', min: 0, placeholder: 'all', value: context.query.get('partition') ?? '' });
  const from = select([['latest', 'the newest'], ['earliest', 'the oldest'], ['offset', 'offset'], ['time', 'time']], 'latest');
  const at = h('input', { placeholder: '', disabled: true, 'aria-label': 'Offset or time' });
  const key = h('input', { placeholder: 'any', autocomplete: 'off', spellcheck: false });
  const limit = select([['20', '20'], ['50', '50'], ['100', '100'], ['200', '200']], '50');
  const form = select([['text', 'text'], ['json', 'JSON'], ['hex', 'hex']], 'json');
  const read = h('button', { type: 'submit', class: 'primary' }, 'Read');
  const [list, told, next] = [h('div'), h('span', { class: 'note', role: 'status' }), h('div', { class: 'pager', hidden: true })];
  const problem = h('div', { class: 'notice', role: 'alert', hidden: true });
  let records = [];

  from.addEventListener('change', () => {
    const needs = { offset: 'number of the first', time: '2026-01-31T12:00:00Z or ms' }[from.value];
    at.disabled = needs === undefined;
    at.placeholder = needs ?? '';
    at.value = '';
    if (needs) at.focus();
  });
  form.addEventListener('change', () => records.forEach((it) => it.open()));

  async function load(asked) {
    read.disabled = true;
    problem.hidden = true;
    try {
      const { data } = await get(`${path}${query(asked)}`);
      records = data.records.map((row) => record(row, () => form.value));
      list.replaceChildren(...(records.length > 0 ? records.map((it) => it.element) : [h('div', { class: 'record mute' }, 'no message')]));
      told.textContent = `${whole(data.records.length)} shown, ${STOPPED[data.stopped]}; ${whole(data.looked_at)} looked at`;
      pageAlong(asked, data);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      context.failed(error);
    } finally {
      read.disabled = false;
    }
  }

  /** Buttons to what comes before and after, of one partition. */
  function pageAlong(asked, data) {
    const [only] = data.partitions;
    next.hidden = data.partitions.length !== 1;
    if (next.hidden) return;
    const step = (title, offset, is) => h('button', { type: 'button', disabled: !is,
      onclick: () => load({ ...asked, partition: only.partition, from: 'offset', offset, time: undefined }) }, title);
    const size = Number(asked.limit);
    const text = `partition ${only.partition}: offsets ${whole(only.log_start)} to ${whole(only.high_watermark)}`;
    next.replaceChildren(h('span', {}, text), h('span', { class: 'spring' }),
      step('Older', Math.max(only.log_start, only.from - size), only.from > only.log_start),
      step('Newer', only.next, only.next < only.high_watermark));
  }

  function submit(event) {
    event?.preventDefault();
    load({
      partition: partition.value, from: from.value, limit: limit.value, key: key.value,
      offset: from.value === 'offset' ? at.value : undefined, time: from.value === 'time' ? at.value : undefined,
    });
  }

  const root = h('div', {}, problem,
    panel('Read', {}, h('form', { class: 'form', onsubmit: submit },
      h('label', {}, 'Partition', partition), h('label', {}, 'From', from), h('label', { class: 'grow' }, 'Offset or time', at),
      h('label', { class: 'grow' }, 'Key', key), h('label', {}, 'Messages', limit), h('label', {}, 'Shown as', form), read)),
    panel('Messages', { body: false, extra: told },
      h('div', { class: 'record-head', 'aria-hidden': 'true' }, h('span', {}, 'Part.'), h('span', {}, 'Offset'), h('span', {}, 'Time'), h('span', {}, 'Key'), h('span', {}, 'Value'), h('span', { class: 'right' }, 'Size')),
      list, next));
  // What is asked again and again is whether the topic is there, and may be read.
  return {
    root,
    start: submit,
    every: 5_000,
    url: () => `/api/v1/topics/${encodeURIComponent(name)}?limit=1`,
    render(data) { read.disabled = !data.may_read; },
  };
}
