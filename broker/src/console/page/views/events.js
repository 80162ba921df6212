// What has happened: moves, faults, rebalances.

import { h, panel, badge } from '../dom.js';
import { table } from '../table.js';
import { moment } from '../format.js';

const KINDS = {
  session: 'Session', takeover: 'Takeover', release: 'Release', store: 'Store', produce: 'Produce', damage: 'Damage', partition: 'Partitions', rebalance: 'Rebalance', console: 'Console',
};
const SEVERITIES = { info: ['ok', ''], warning: ['warning', 'warn'], error: ['error', 'bad'] };

export function events() {
  let [kind, all] = ['', []];
  const rows = table({
    label: 'Events',
    key: (row) => row.key,
    empty: 'nothing of that kind has happened since the process started',
    columns: [
      { title: 'Time', cell: (row) => moment(row.at_ms) },
      { title: '', cell: (row) => badge(...SEVERITIES[row.severity]) },
      { title: 'Kind', cell: (row) => KINDS[row.kind] ?? row.kind },
      { title: 'What', class: 'wide', cell: (row) => row.text },
    ],
  });
  const show = () => rows.render(all.filter((row) => kind === '' || row.kind === kind || (kind === 'trouble' && row.severity !== 'info')));
  const choice = h('select', { 'aria-label': 'Kind of event', onchange: (event) => { kind = event.target.value; show(); } },
    h('option', { value: '' }, 'all events'), h('option', { value: 'trouble' }, 'warnings and errors'), Object.entries(KINDS).map(([key, title]) => h('option', { value: key }, title)));
  return {
    root: h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Events'), choice, h('span', { class: 'note' }, 'of this broker, the newest first; its log says more')),
      panel('Events', { body: false }, rows.element)),
    url: () => '/api/v1/events',
    render(data) {
      const count = new Map();
      all = [...data.rows].reverse().map((row) => {
        const key = `${row.at_ms} ${row.kind} ${row.text}`;
        count.set(key, (count.get(key) ?? 0) + 1);
        return { ...row, key: `${key} ${count.get(key)}` };
      }).reverse();
      show();
    },
  };
}
