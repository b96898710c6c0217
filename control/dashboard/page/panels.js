// Headline numbers, the fleet and the decisions. Text goes in as text only.
import { colour } from './palette.js';

const fixed = (v, digits) => v.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const whole = (v) => fixed(v, 0);
const rate = (v) => fixed(v, v < 10 ? 1 : 0);
const bytes = (v) => (v < 1e3 ? [whole(v), 'B/s'] : v < 1e6 ? [rate(v / 1e3), 'kB/s'] : [rate(v / 1e6), 'MB/s']);

function el(tag, text, attributes = {}) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  for (const [k, v] of Object.entries(attributes)) if (v) e.setAttribute(k, v);
  return e;
}

const tickLevel = (ms, budget) => (budget === 0 || ms <= budget * 0.8 ? '' : ms <= budget ? 'warn' : 'bad');

export function showHeadline(list, h) {
  const budget = h.tick_budget_ms;
  const [flow, unit] = bytes(h.bytes_to_clients_per_s);
  const rows = [
    ['players', whole(h.players)],
    ['nodes', whole(h.nodes), `+ ${h.gateways} gw`],
    ['zones', whole(h.zones)],
    ['tick p99, worst', fixed(h.tick_p99_ms, 1), `of ${whole(budget)} ms`, tickLevel(h.tick_p99_ms, budget)],
    ['ticks missed', fixed(h.missed_percent, 1), '%', h.missed_percent > 5 ? 'bad' : h.missed_percent > 0.5 ? 'warn' : ''],
    ['crossings', rate(h.crossings_per_s), '/s'],
    ['durable acts', rate(h.durable_per_s), '/s'],
    ['store writes', rate(h.write_units_per_s), 'units/s'],
    ['to clients', flow, unit],
    ['props', whole(h.props), h.moving ? `${h.moving} fly` : ''],
  ];
  list.replaceChildren(...rows.map(([name, value, small, level]) => {
    const box = el('div');
    const dd = el('dd', value, { 'data-level': level });
    if (small) dd.append(' ', el('small', small));
    box.append(el('dt', name), dd);
    return box;
  }));
}

export function showFleet(nodes, gateways, processes) {
  const of = (role) => processes.filter((p) => p.role === role && p.state !== 'stopped').sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
  nodes.replaceChildren(...filled(of('node').map((p) => row(p, true, [whole(p.zones), p.capacity ? `${p.actors} / ${p.capacity}` : whole(p.actors), tick(p), [missed(p), p.ticks_missed > p.ticks / 20 ? 'warn' : '']])), 6, 'no node runs: the world sleeps in the store'));
  gateways.replaceChildren(...filled(of('gateway').map((p) => row(p, false, [whole(p.clients), tick(p), whole(p.refused_inputs)])), 5, 'no gateway runs'));
}

const missed = (p) => (p.ticks ? whole(p.ticks_missed) : '');
const tick = (p) => (p.reported ? [`${fixed(p.tick_p50_ms, 1)} / ${fixed(p.tick_p99_ms, 1)}`, tickLevel(p.tick_p99_ms, p.tick_budget_ms)] : '');

function filled(rows, columns, otherwise) {
  if (rows.length) return rows;
  const tr = el('tr');
  tr.append(el('td', otherwise, { colspan: columns, class: 'empty' }));
  return [tr];
}

function row(p, coloured, cells) {
  const tr = el('tr');
  const name = el('th', undefined, { scope: 'row' });
  if (coloured) {
    const swatch = el('span', undefined, { class: 'swatch', 'aria-hidden': 'true' });
    if (p.zones) swatch.style.background = colour(p.id);
    name.append(swatch);
  }
  name.append(p.id);
  const silent = p.reported && p.silent_ms > 4000;
  const state = silent ? `silent ${Math.round(p.silent_ms / 1000)} s` : p.reported || p.state !== 'ready' ? (coloured && p.state === 'ready' && !p.zones ? 'warm' : p.state) : 'starting';
  tr.append(name, el('td', state, { 'data-level': silent ? 'bad' : p.state === 'draining' ? 'warn' : '' }));
  for (const c of cells) {
    const [text, level] = Array.isArray(c) ? c : [c];
    tr.append(el('td', text, { 'data-level': level }));
  }
  return tr;
}

let top = '';
export function showDecisions(list, decisions) {
  const newest = decisions.length ? decisions[0].id : '';
  if (newest === top && list.children.length) return;
  top = newest;
  const open = new Set([...list.querySelectorAll('details[open]')].map((d) => d.dataset.id));
  if (!decisions.length) {
    list.replaceChildren(el('li', 'Nothing has been decided yet.'));
    return;
  }
  list.replaceChildren(...decisions.map((d) => {
    const li = el('li');
    const at = new Date(d.unix_milli);
    const p = el('p');
    p.append(el('time', at.toLocaleTimeString(), { datetime: at.toISOString() }), el('b', d.action), el('span', d.subject), ` — ${d.reason}`);
    li.append(p);
    if (d.alternatives && d.alternatives.length) {
      const more = el('details', undefined, { 'data-id': d.id });
      more.open = open.has(d.id);
      const ul = el('ul');
      ul.append(...d.alternatives.map((a) => el('li', a)));
      more.append(el('summary', d.alternatives.length === 1 ? 'instead of one other' : `instead of ${d.alternatives.length} others`), ul);
      li.append(more);
    }
    return li;
  }));
}
