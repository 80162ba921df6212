// One consumer group: members, lag, and offsets that can be moved.

import { h, panel, badge, setText } from '../dom.js';
import { table } from '../table.js';
import { ask } from '../app.js';
import { STATES } from './groups.js';
import { known, whole } from '../format.js';

export function group(context) {
  const [name] = context.path;
  const path = `/api/v1/groups/${encodeURIComponent(name)}`;
  const partitions = table({
    label: `Offsets of ${name}`,
    key: (row) => `${row.topic}\n${row.partition}`,
    empty: 'nothing is committed',
    columns: [
      { title: 'Topic', cell: (row) => h('a', { href: `#/topics/${encodeURIComponent(row.topic)}` }, row.topic) },
      { title: 'Partition', num: true, cell: (row) => String(row.partition) },
      { title: 'Committed', num: true, cell: (row) => whole(row.committed) },
      { title: 'Log start', num: true, cell: (row) => known(whole(row.log_start), 'the partition is gone') },
      { title: 'End', num: true, cell: (row) => known(whole(row.end), 'the partition is gone') },
      { title: 'Behind', num: true, cell: (row) => known(whole(row.lag), 'the partition is gone') },
      { title: 'Read by', cell: (row) => known(row.member, 'nobody') },
    ],
  });
  const members = table({
    label: `Members of ${name}`,
    key: (row) => row.id,
    empty: 'no members',
    columns: [
      { title: 'Client', cell: (row) => row.client },
      { title: 'Instance', cell: (row) => known(row.instance, 'not static') },
      { title: 'From', cell: (row) => row.host },
      { title: 'Partitions', num: true, cell: (row) => whole(row.partitions) },
      { title: 'Reads', class: 'wide mute', cell: (row) => known(row.assigned.join(', '), 'nothing') },
      { title: 'Member id', class: 'mono mute', cell: (row) => row.id },
    ],
  });
  const [state, note] = [h('span'), h('span', { class: 'note' })];
  let topics = [];
  const move = h('button', { type: 'button', hidden: true, onclick: () => reset(context, name, path, topics) }, 'Move offsets');
  return {
    root: h('div', {},
      h('div', { class: 'head' }, h('h1', {}, h('a', { class: 'crumb', href: '#/groups' }, 'Groups'), h('span', { class: 'crumb' }, ' / '), name), state, note, h('span', { class: 'spring' }), move),
      panel('Members', { body: false }, members.element),
      panel('Offsets', { body: false }, partitions.element)),
    url: () => path,
    render(data, summary) {
      state.replaceChildren(badge(data.state, STATES[data.state]));
      const more = data.left_out > 0 ? `; ${whole(data.left_out)} partitions not shown` : '';
      setText(note, `${whole(data.lag)} records behind; ${data.assignor || 'no assignor'}; coordinated by broker ${data.coordinator}${more}`);
      partitions.render(data.partitions);
      members.render(data.members);
      topics = [...new Set(data.partitions.map((row) => row.topic))];
      move.hidden = !summary.is_admin;
      move.disabled = data.members.length > 0;
      move.title = move.disabled ? 'stop its members first' : '';
    },
  };
}

/** Asks where to, shows what would be moved, then moves it. */
function reset(context, name, path, topics) {
  const topic = h('select', {}, h('option', { value: '' }, 'all that are committed'), topics.map((it) => h('option', { value: it }, it)));
  const to = h('select', {}, [['earliest', 'the oldest record'], ['latest', 'the end'], ['offset', 'an offset'], ['time_ms', 'a time'], ['shift', 'by so many records']].map(([key, title]) => h('option', { value: key }, title)));
  const value = h('input', { disabled: true, 'aria-label': 'Value' });
  to.addEventListener('change', () => {
    value.disabled = ['earliest', 'latest'].includes(to.value);
    value.type = { time_ms: 'datetime-local', offset: 'number', shift: 'number' }[to.value] ?? 'text';
    value.required = !value.disabled;
  });
  const target = () => {
    if (value.disabled) return to.value;
    return { [to.value]: to.value === 'time_ms' ? new Date(value.value).getTime() : Number(value.value) };
  };
  const body = () => ({ topic: topic.value || undefined, to: target() });
  ask(`Move offsets of ${name}`, h('div', { class: 'form' }, h('label', { class: 'grow' }, 'Topic', topic), h('label', {}, 'To', to), h('label', {}, 'Value', value)), 'Show', async () => {
    const asked = body();
    const plan = await context.send('POST', `${path}/offsets`, asked);
    const rows = table({
      label: 'What would be moved',
      key: (row) => `${row.topic}\n${row.partition}`,
      columns: [
        { title: 'Topic', cell: (row) => row.topic },
        { title: 'Partition', num: true, cell: (row) => String(row.partition) },
        { title: 'From', num: true, cell: (row) => known(whole(row.from), 'nothing is committed') },
        { title: 'To', num: true, cell: (row) => whole(row.to) },
      ],
    });
    rows.render(plan.moves);
    ask(`Move ${whole(plan.moves.length)} offsets of ${name}?`, rows.element, 'Move', async () => {
      await context.send('POST', `${path}/offsets`, { ...asked, execute: true });
      context.refresh();
    }, 'danger');
  });
}
