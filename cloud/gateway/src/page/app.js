// The page: routes by hash, keeps views up to date, asks for a name once.

import { Stream } from '/stream.js';
import {
  h, ago, alertCard, allClear, back, bandsOf, fleetRow, headline, label, leading, plotCard, rank, since, stage, tile, unit, whole,
} from '/views.js';

const $ = (id) => document.getElementById(id);
const view = $('view');
const stored = (key) => { try { return localStorage.getItem(key) ?? ''; } catch { return ''; } };
const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* asked again next time */ } };

const stream = new Stream(() => stored('motorcade.token'));
const units = {};
let leave = () => {};

async function api(path) {
  const token = stored('motorcade.token');
  const response = await fetch(`/api/v1/${path}`, token ? { headers: { authorization: `Bearer ${token}` } } : {});
  if (response.status === 401) { unlock(); throw new Error('locked'); }
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
}

function toast(text) {
  $('toast').textContent = text;
  $('toast').hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { $('toast').hidden = true; }, 4000);
}

/** Asks for one line of text; null if the person cancels. */
function ask(title, text, value, type = 'text') {
  return new Promise((resolve) => {
    const dialog = $('ask');
    $('ask-title').textContent = title;
    $('ask-text').textContent = text;
    $('ask-input').value = value;
    $('ask-input').type = type;
    $('ask-cancel').onclick = () => dialog.close('');
    dialog.returnValue = '';
    dialog.querySelector('form').onsubmit = (submit) => { submit.preventDefault(); dialog.close('ok'); };
    dialog.onclose = () => resolve(dialog.returnValue === 'ok' ? $('ask-input').value.trim() : null);
    if (!dialog.open) dialog.showModal();
  });
}

async function person() {
  const known = stored('motorcade.actor');
  if (known) return known;
  const name = await ask('Who is on it?', 'Your name is shown to everybody who sees the alert. It is asked once.', '');
  if (name) store('motorcade.actor', shorten(name, 64));
  return name && shorten(name, 64);
}

/** The text, without what is beyond so many bytes of UTF-8: the gateway counts bytes. */
function shorten(text, bytes) {
  const encoder = new TextEncoder();
  let [kept, size] = ['', 0];
  for (const character of text) {
    size += encoder.encode(character).length;
    if (size > bytes) break;
    kept += character;
  }
  return kept;
}

async function unlock() {
  if ($('ask').open) return;
  const token = await ask('Access token', 'This gateway asks for a token. It is kept on this phone.', '', 'password');
  if (!token) return;
  store('motorcade.token', token);
  stream.state = 'connecting';
  stream.open();
  route();
}

const context = {
  units,
  pending: (id) => stream.pending(id),
  async acknowledge(event) {
    const actor = await person();
    if (actor) stream.command(event.id, 'acknowledge', actor);
  },
  async resolve(event, outcome) {
    const actor = await person();
    if (actor) stream.command(event.id, 'resolve', actor, { outcome });
  },
};

const alerts = () => [...stream.alerts.values()];
const open = () => alerts().filter((event) => event.state !== 'resolved');

/** Replaces only the cards that changed, so that nothing jumps and a focused button stays focused. */
function cards(list, events, options) {
  const wanted = new Map(events.map((event) => [event.id, event]));
  const found = new Map();
  for (const card of [...list.children]) {
    const event = wanted.get(card.dataset.alertId);
    if (event) found.set(event.id, card); else card.remove();
  }
  events.forEach((event, at) => {
    // Units may arrive after the first alerts.
    const mark = `${event.revision}/${Boolean(stream.pending(event.id))}/${Object.keys(units).length}`;
    let card = found.get(event.id);
    if (!card || card.dataset.mark !== mark) {
      const fresh = alertCard(event, context, options);
      fresh.dataset.mark = mark;
      if (card) card.replaceWith(fresh); else if (list.dataset.drawn) fresh.classList.add('fresh');
      card = fresh;
    }
    if (list.children[at] !== card) list.insertBefore(card, list.children[at] ?? null);
  });
  list.dataset.drawn = 'yes';
}

function showAlerts() {
  const title = h('h1', null, 'Alerts');
  const summary = h('span.small.dim');
  const list = h('div.stack', { 'data-testid': 'alerts' });
  const clear = h('div');
  const past = h('div.stack');
  const pastHead = h('div.section', null, h('h2', null, 'Resolved lately'));
  const draw = () => {
    const now = open().sort(rank);
    const firing = now.filter((event) => event.state === 'firing').length;
    summary.textContent = now.length ? `${firing} waiting · ${now.length - firing} in hand` : '';
    cards(list, now);
    clear.replaceChildren(...(now.length ? [] : [allClear(stream.next === null)]));
    const old = alerts().filter((event) => event.state === 'resolved').sort((a, b) => b.time - a.time).slice(0, 10);
    pastHead.hidden = old.length === 0;
    cards(past, old);
  };
  view.replaceChildren(h('div.head', null, title, summary), clear, list, pastHead, past);
  draw();
  stream.addEventListener('alerts', draw);
  leave = () => stream.removeEventListener('alerts', draw);
}

function health() {
  const out = new Map();
  for (const event of open()) {
    const vehicle = event.id.split('|')[0];
    const known = out.get(vehicle) ?? { worst: 'warning', count: 0 };
    if (event.severity === 'critical') known.worst = 'critical';
    known.count += 1;
    out.set(vehicle, known);
  }
  return out;
}

function showFleet() {
  let rows = [];
  let total = 0;
  let next = null;
  let failed = false;
  let loaded = false;
  const summary = h('span.small.dim');
  const search = h('input.search', { type: 'search', placeholder: 'Find a vehicle', 'aria-label': 'Find a vehicle', 'data-testid': 'fleet-search' });
  const attention = h('div.card.rows');
  const attentionHead = h('div.section', null, h('h2', null, 'Needs attention'));
  const rest = h('div.card.rows', { 'data-testid': 'fleet' });
  const restHead = h('div.section', null, h('h2', null, 'Vehicles'));
  const more = h('button.button.quiet.more', { type: 'button', onclick: () => load(next) }, 'Show more');
  const draw = () => {
    const state = health();
    const text = search.value.trim().toLowerCase();
    const fits = (row) => row.vehicle.toLowerCase().includes(text);
    const known = new Map(rows.map((row) => [row.vehicle, row]));
    const sick = [...state.keys()].map((vehicle) => known.get(vehicle) ?? { vehicle, online: true }).filter(fits)
      .sort((a, b) => (state.get(a.vehicle).worst > state.get(b.vehicle).worst ? 1 : -1));
    const well = rows.filter((row) => !state.has(row.vehicle) && fits(row));
    const make = (row) => fleetRow(row, state.get(row.vehicle)?.worst, state.get(row.vehicle)?.count);
    attention.replaceChildren(...sick.map(make));
    attention.hidden = attentionHead.hidden = sick.length === 0;
    rest.replaceChildren(...well.map(make));
    if (!well.length) rest.replaceChildren(h('div.dim', null, failed ? 'The fleet can’t be read right now.' : !loaded ? 'Loading…' : text ? 'No vehicle of that name here.' : 'No vehicles yet.'));
    summary.textContent = total ? `${whole(total)} vehicles · ${state.size} need attention` : '';
    more.hidden = !next;
  };
  const load = async (after) => {
    try {
      const page = await api(`vehicles?limit=200${after ? `&after=${encodeURIComponent(after)}` : ''}`);
      const fresh = new Map(page.vehicles.map((row) => [row.vehicle, row]));
      rows = rows.map((row) => fresh.get(row.vehicle) ?? row);
      const have = new Set(rows.map((row) => row.vehicle));
      rows.push(...page.vehicles.filter((row) => !have.has(row.vehicle)));
      total = page.total;
      if (after || !loaded) next = page.next;
      failed = false;
      loaded = true;
    } catch { failed = true; }
    draw();
  };
  search.oninput = draw;
  search.onkeydown = (key) => { if (key.key === 'Enter' && search.value.trim()) location.hash = `#/vehicle/${search.value.trim()}`; };
  view.replaceChildren(h('div.head', null, h('h1', null, 'Fleet'), summary), search, attentionHead, attention, restHead, rest, more);
  draw();
  load();
  const timer = setInterval(() => { if (!document.hidden) load(); }, 5000);
  stream.addEventListener('alerts', draw);
  leave = () => { clearInterval(timer); stream.removeEventListener('alerts', draw); };
}

function showVehicle(vehicle) {
  let minutes = 15;
  let closed = false;
  const plots = new Map();
  const state = h('div.state', null, 'Loading…');
  const list = h('div.stack');
  const area = h('div.stack.plots', { 'data-testid': 'plots' });
  const spans = h('div.spans', { role: 'group', 'aria-label': 'Span' }, [5, 15, 60].map((each) => h('button', {
    type: 'button', 'aria-pressed': String(each === minutes),
    onclick: (click) => {
      minutes = each;
      for (const button of spans.children) button.setAttribute('aria-pressed', String(button === click.target));
      load();
    },
  }, `${each} min`)));
  const legend = h('div.legend', null, h('span', null, h('i'), 'anomaly'), h('span', null, h('i.line'), 'threshold'));
  const mine = () => alerts().filter((event) => event.id.startsWith(`${vehicle}|`));
  const draw = () => cards(list, mine().filter((event) => event.state !== 'resolved').sort(rank), { compact: true });
  let asked = 0;
  const load = async () => {
    asked += 1;
    const turn = asked;
    try {
      const path = `vehicles/${encodeURIComponent(vehicle)}`;
      const [twin, history, scores, past] = await Promise.all([
        api(`${path}/twin`), api(`${path}/history?minutes=${minutes}`), api(`${path}/scores?minutes=${minutes}`),
        api(`alerts?vehicle=${encodeURIComponent(vehicle)}&limit=20`),
      ]);
      if (closed || turn !== asked) return;
      show(twin, history, scores, past);
    } catch (error) {
      if (!closed && !plots.size) state.textContent = error.message === 'locked' ? 'A token is needed.' : error.message;
    }
  };
  const show = ({ twin }, history, scores, past) => {
    const online = twin.status?.state === 'online';
    state.replaceChildren(h(`span.chip.${online ? 'good' : 'plain'}`, null, online ? 'Online' : 'Offline'));
    if (twin.last) state.append(since(twin.last.ingest, 'Last reading '));
    const known = new Map(past.alerts.map((row) => [row.event.id, row.event]));
    for (const event of mine()) if ((known.get(event.id)?.revision ?? 0) < event.revision) known.set(event.id, event);
    const episodes = [...known.values()];
    const span = [history.from, history.to];
    const bands = bandsOf(episodes, scores.points, history.to).filter(([begin, end]) => end >= span[0] && begin <= span[1]);
    const marks = episodes.map((event) => event.opened_at);
    const involved = [...new Set(episodes.filter((event) => event.state !== 'resolved').flatMap((event) => leading(event, 0.5).map((each) => each.signal)))];
    const rest = Object.keys(history.signals).filter((path) => !involved.includes(path) && path !== 'Vehicle.IsMoving' && path !== 'Vehicle.TraveledDistance');
    const wanted = ['score', ...involved.filter((path) => history.signals[path]), ...rest];
    for (const [path, each] of plots) if (!wanted.includes(path)) { each.card.remove(); plots.delete(path); }
    wanted.forEach((path, at) => {
      const isInvolved = involved.includes(path);
      if (!plots.has(path)) plots.set(path, plotCard(path === 'score' ? 'Anomaly score' : label(path), isInvolved));
      const each = plots.get(path);
      each.card.classList.toggle('involved', isInvolved);
      if (area.children[at] !== each.card) area.insertBefore(each.card, area.children[at] ?? null);
      const series = path === 'score' ? { points: scores.points, unit: '× threshold' } : history.signals[path];
      each.draw({
        points: series.points, span, bands, marks,
        ...(path === 'score' ? { threshold: scores.threshold, floor: 0 } : {}),
      }, unit(series.unit));
    });
  };
  view.replaceChildren(back('#/fleet', 'Fleet'), h('h1.wrap', null, vehicle), state, list,
    h('div.section', null, h('h2', null, 'Signals')), spans, legend, area);
  draw();
  load();
  const timer = setInterval(() => { if (!document.hidden) load(); }, 3000);
  const again = () => { draw(); load(); };
  stream.addEventListener('alerts', again);
  addEventListener('resize', load);
  leave = () => {
    closed = true;
    clearInterval(timer);
    stream.removeEventListener('alerts', again);
    removeEventListener('resize', load);
  };
}

const rates = {};

function showPipeline() {
  const tiles = h('div.tiles');
  const flow = h('div.card.flow');
  const model = h('div.card.tile', { 'data-testid': 'champion' });
  const note = h('span.small.dim');
  const stages = [['telemetry', 'Readings'], ['scores', 'Scores'], ['alerts', 'Alert events'], ['telemetry.dead-letter', 'Dead letters']];
  const load = async () => {
    try {
      const [now, models] = await Promise.all([api('pipeline'), api('models')]);
      const { kafka, gateway } = now;
      note.replaceChildren(kafka.error ? h('span.chip.critical', null, kafka.error) : kafka.measured_at ? since(kafka.measured_at, 'Measured ') : 'Measuring…');
      for (const [name] of stages) rates[name] = [...(rates[name] ?? []), kafka.flows[name]?.per_second ?? 0].slice(-60);
      tiles.replaceChildren(
        tile('Readings', whole(kafka.flows.telemetry?.per_second ?? 0), 'per second'),
        tile('Scorer behind', kafka.scorer_lag === undefined ? '–' : whole(kafka.scorer_lag), 'readings'),
        tile('Open alerts', whole(gateway.open_alerts)),
        tile('Watching now', whole(gateway.connections), gateway.connections === 1 ? 'screen' : 'screens'));
      flow.replaceChildren(...stages.map(([name, text]) => stage(name, text, kafka.flows[name], rates[name])));
      const version = models.versions.find((each) => each.version === now.champion);
      model.replaceChildren(h('h2', null, 'Champion model'),
        h('div.wrap', null, h('b', null, now.champion ?? 'None yet: nothing is scored')),
        version ? h('div.small.dim', null, since(version.time, 'Registered '), ` · ${models.versions.length} version${models.versions.length === 1 ? '' : 's'} in the registry`) : '');
    } catch (error) {
      note.replaceChildren(h('span.chip.critical', null, error.message === 'locked' ? 'Locked' : 'The gateway does not answer'));
    }
  };
  view.replaceChildren(h('div.head', null, h('h1', null, 'Pipeline'), note), tiles,
    h('div.section', null, h('h2', null, 'Flow')), flow, h('div.section', null, h('h2', null, 'Model')), model);
  load();
  const timer = setInterval(() => { if (!document.hidden) load(); }, 2000);
  leave = () => clearInterval(timer);
}

function route() {
  leave();
  leave = () => {};
  const [, name, rest] = location.hash.split('/');
  const tab = name === 'vehicle' ? 'fleet' : name || 'alerts';
  for (const link of document.querySelectorAll('[data-tab]')) {
    if (link.dataset.tab === tab) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  scrollTo(0, 0);
  if (name === 'vehicle' && rest) showVehicle(decodeURIComponent(rest));
  else if (name === 'fleet') showFleet();
  else if (name === 'pipeline') showPipeline();
  else showAlerts();
}

const WORDS = { live: 'Live', connecting: 'Connecting', offline: 'Offline', locked: 'Locked' };
stream.addEventListener('state', () => {
  $('connection').dataset.state = stream.state;
  $('connection').querySelector('.text').textContent = WORDS[stream.state];
  if (stream.state === 'locked') unlock();
});
stream.addEventListener('alerts', () => {
  const firing = open().filter((event) => event.state === 'firing').length;
  $('count').hidden = firing === 0;
  $('count').textContent = firing > 99 ? '99+' : String(firing);
  document.title = firing ? `(${firing}) Motorcade` : 'Motorcade';
});
stream.addEventListener('news', ({ detail: { event, first } }) => {
  const vehicle = event.id.split('|')[0];
  if (first && event.state === 'firing') {
    $('announce').textContent = `New ${event.severity} alert: ${vehicle}, ${headline(event)}`;
    if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(event.severity === 'critical' ? [80, 60, 80] : 60);
  } else if (event.state === 'acknowledged') {
    $('announce').textContent = `${event.actor} acknowledged the alert of ${vehicle}`;
  }
});
stream.addEventListener('refused', ({ detail }) => toast(`Not taken: ${detail}`));
setInterval(() => {
  for (const element of document.querySelectorAll('[data-since]')) element.textContent = element.dataset.prefix + ago(Number(element.dataset.since));
}, 1000);
addEventListener('hashchange', route);

const catalogue = () => api('signals').then(({ signals }) => {
  for (const each of signals) units[each.path] = each.unit;
  stream.dispatchEvent(new Event('alerts'));
}).catch(() => setTimeout(catalogue, 3000));
route();
catalogue();
stream.dispatchEvent(new Event('alerts'));
stream.open();
