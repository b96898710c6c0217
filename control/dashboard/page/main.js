// The page: one event stream in, three views of it out.
import { WorldMap } from './map.js';
import { settle } from './palette.js';
import { showDecisions, showFleet, showHeadline } from './panels.js';

const $ = (id) => document.getElementById(id);
const map = new WorldMap($('world'), $('hover'), $('shown'));
let heard = 0; // when the last event came
let readAt = 0; // when the server read the last state

function onState(s) {
  $('name').textContent = s.name || '';
  $('note').textContent = s.note || '';
  $('fault').hidden = !s.fault;
  $('fault').textContent = s.fault || '';
  if (!s.zones) return; // nothing was ever read
  readAt = s.unix_milli;
  settle(s.processes.filter((p) => p.role === 'node').map((p) => p.id));
  showHeadline($('headline'), s.headline);
  showFleet($('nodes').tBodies[0], $('gateways').tBodies[0], s.processes);
  map.setState(s);
}

function listen() {
  const stream = new EventSource('/api/events');
  const on = (name, f) => stream.addEventListener(name, (e) => { heard = performance.now(); f(JSON.parse(e.data)); });
  on('state', onState);
  on('decisions', (d) => showDecisions($('decisions'), d || []));
  on('map', (m) => map.setPoints(m));
  on('props', (m) => map.setLying(m));
  stream.onerror = () => {
    // The browser comes again by itself, unless the answer was an error.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function link() {
  const silent = performance.now() - heard;
  const [state, text] = heard === 0 ? ['wait', 'connecting…'] : silent > 3000
    ? ['stale', `no word for ${Math.round(silent / 1000)} s${readAt ? `; this is from ${new Date(readAt).toLocaleTimeString()}` : ''}`]
    : ['live', 'live'];
  const at = $('link');
  if (at.dataset.link !== state) at.dataset.link = state;
  if ($('link-text').textContent !== text) $('link-text').textContent = text;
}

function press(id, key, f) {
  $(id).addEventListener('click', f);
  addEventListener('keydown', (e) => {
    if (e.key === key && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); f(); }
  });
}
const pressed = (id, on) => $(id).setAttribute('aria-pressed', String(on));

map.onFollow = (on) => pressed('follow', on);
press('follow', 'f', () => map.follow(!map.following));
press('whole', '0', () => map.whole());
press('density', 'd', () => { map.density = !map.density; pressed('density', map.density); });
press('in', '+', () => map.zoom(1.5));
press('out', '-', () => map.zoom(1 / 1.5));

const root = document.documentElement;
const wanted = () => { try { return localStorage.getItem('theme'); } catch { return null; } };
if (wanted()) root.dataset.theme = wanted();
$('theme').addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('theme', root.dataset.theme); } catch { /* private windows have no storage */ }
  map.inks();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => map.inks());

setInterval(link, 500);
listen();
