// What is drawn: alert cards, the fleet, one vehicle, the pipeline. No markup is ever made from text.

import { plot, sparkline } from '/plot.js';

const SVG = 'http://www.w3.org/2000/svg';

/** An element: h('a.card', { href }, child, 'text'). */
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function icon(path, name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  if (name) svg.setAttribute('class', name);
  const line = document.createElementNS(SVG, 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}
const TICK = 'M5 12.5l4.5 4.5L19 7.5';
const CHEVRON = 'M9 5l7 7-7 7';
const SHIELD = 'M12 3l7.5 3v5.5c0 4.6-3.1 8-7.5 9.5-4.4-1.5-7.5-4.9-7.5-9.5V6zM8.5 12l2.5 2.5 4.5-4.5';

const LABELS = {
  'Vehicle.Speed': 'Speed',
  'Vehicle.Chassis.Accelerator.PedalPosition': 'Accelerator pedal',
  'Vehicle.Chassis.Brake.PedalPosition': 'Brake pedal',
  'Vehicle.Powertrain.ElectricMotor.Speed': 'Motor speed',
  'Vehicle.Powertrain.ElectricMotor.Torque': 'Motor torque',
  'Vehicle.Powertrain.ElectricMotor.Temperature': 'Motor temperature',
  'Vehicle.Powertrain.ElectricMotor.EngineCoolant.Temperature': 'Coolant temperature',
  'Vehicle.Powertrain.TractionBattery.StateOfCharge.Current': 'State of charge',
  'Vehicle.Powertrain.TractionBattery.CurrentVoltage': 'Battery voltage',
  'Vehicle.Powertrain.TractionBattery.CurrentCurrent': 'Battery current',
  'Vehicle.Powertrain.TractionBattery.Temperature.Average': 'Battery temperature',
  'Vehicle.LowVoltageBattery.CurrentVoltage': '12 V battery',
  'Vehicle.Exterior.AirTemperature': 'Outside air',
  'Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure': 'Front left tyre pressure',
  'Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure': 'Front right tyre pressure',
  'Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Pressure': 'Rear left tyre pressure',
  'Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure': 'Rear right tyre pressure',
  'Vehicle.Acceleration.Longitudinal': 'Acceleration, along',
  'Vehicle.Acceleration.Lateral': 'Acceleration, across',
  'Motorcade.Powertrain.DriveUnit.Vibration': 'Drive unit vibration',
  'Vehicle.TraveledDistance': 'Distance travelled',
  'Vehicle.IsMoving': 'Moving',
};
const UNITS = { celsius: '°C', percent: '%', 'm/s^2': 'm/s²' };

export const label = (path) => LABELS[path] ?? path.split('.').slice(-2).join(' ');
export const unit = (name) => UNITS[name] ?? name ?? '';

export function number(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
const whole = (value) => Math.round(value).toLocaleString('en-GB');

export function ago(time, now = Date.now()) {
  const seconds = Math.round((now - time) / 1000);
  if (seconds < -60 || seconds >= 86400) {
    return new Date(time).toLocaleString([], { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  }
  if (seconds < 10) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

/** A time that keeps its text up to date by itself (see tick in app.js). */
const since = (time, prefix = '') => {
  const element = h('time', { datetime: new Date(time).toISOString(), 'data-since': time, 'data-prefix': prefix });
  element.textContent = prefix + ago(time);
  return element;
};

/** The signals that carry the score: the first, and others of at least this share of it. */
export const leading = (event, share) => event.contributions.filter((each, at) => at === 0 || each.score >= share * event.contributions[0].score);

export function headline(event) {
  const top = event.contributions[0];
  if (!top) return 'Unusual behaviour';
  return `${label(top.signal)} ${top.observed >= top.expected ? 'above' : 'below'} expected`;
}

const severity = (event) => h(`span.chip.${event.severity}`, null, event.severity === 'critical' ? 'Critical' : 'Warning');

/** One alert. `context`: units, pending(id), acknowledge(event), resolve(event). */
export function alertCard(event, context, { compact = false } = {}) {
  const pending = context.pending(event.id);
  const facts = h('dl.facts', null, leading(event, 0.25).slice(0, 3).map((each) => {
    const name = unit(context.units[each.signal]);
    return h('div', null,
      h('dt', { title: each.signal }, label(each.signal)),
      h('dd', null, `${number(each.observed)} ${name}`),
      h('dd.expected', null, `expected ${number(each.expected)}`));
  }));
  const vehicle = event.id.split('|')[0];
  const look = compact ? null : h('a.button.quiet', { href: `#/vehicle/${vehicle}`, 'data-testid': 'open-vehicle' }, 'Signals');
  const end = (text, outcome, testid) => h('button.button.quiet.grow', {
    type: 'button', 'data-testid': testid, disabled: Boolean(pending), onclick: () => context.resolve(event, outcome),
  }, pending ? 'Resolving…' : text);
  let act;
  if (event.state === 'firing') {
    act = [h('button.button.primary.grow', {
      type: 'button', 'data-testid': 'ack-button', disabled: Boolean(pending), onclick: () => context.acknowledge(event),
    }, pending ? 'Acknowledging…' : 'Acknowledge'), look];
  } else if (event.state === 'acknowledged') {
    act = [h('div.taken', { 'data-testid': 'acknowledged-by' }, icon(TICK), h('span', null, 'Acknowledged by ', h('b', null, event.actor ?? 'someone'))),
      compact ? [end('Fixed', 'confirmed', 'resolve-button'), end('False alarm', 'false_alarm', 'false-alarm-button')] : look].flat();
  } else {
    const text = event.actor ? [event.outcome === 'false_alarm' ? 'False alarm, says ' : 'Resolved by ', h('b', null, event.actor)] : ['Back to normal'];
    act = [h('div.taken', null, icon(TICK), h('span', null, ...text)), look];
  }
  return h('article.card.alert', {
    'data-testid': 'alert-card', 'data-alert-id': event.id, 'data-state': event.state, 'data-severity': event.severity, 'data-revision': event.revision,
    'aria-label': `${event.severity} alert of ${vehicle}`,
  },
  h('div.top', null, severity(event),
    compact ? h('span.dim.small', null, `${event.score.toFixed(1)}× threshold`) : h('a.vehicle', { href: `#/vehicle/${vehicle}` }, vehicle),
    since(event.opened_at)),
  h('h3', null, headline(event)),
  facts,
  h(`div.actions${compact ? '.two' : ''}`, null, act));
}

export const rank = (a, b) => {
  const order = (event) => (event.state === 'firing' ? 0 : 2) + (event.severity === 'critical' ? 0 : 1);
  return order(a) - order(b) || b.opened_at - a.opened_at || (a.id < b.id ? -1 : 1);
};

export function allClear(waiting) {
  return h('div.card.empty', null, icon(SHIELD), h('h3', null, waiting ? 'Loading alerts' : 'All clear'),
    h('p', null, waiting ? 'One moment.' : 'No vehicle needs attention. New alerts appear here by themselves.'));
}

export function fleetRow(row, worst, count) {
  const health = worst ?? (row.online || row.last_ingest ? 'ok' : 'unknown');
  const words = { critical: 'critical', warning: 'warning', ok: 'healthy', unknown: 'nothing heard yet' }[health];
  const heard = row.last_ingest ? since(row.last_ingest, row.online ? 'Online · ' : 'Offline · ') : h('span', null, row.online ? 'Online' : 'Offline');
  return h('a', { href: `#/vehicle/${row.vehicle}`, 'data-testid': 'fleet-row', 'data-vehicle': row.vehicle, 'data-health': health },
    h(`span.health.${health}`, { role: 'img', 'aria-label': words }),
    h('span.who', null, h('b', null, row.vehicle), h('span.small.dim', null, heard)),
    count ? h(`span.chip.${worst}`, null, `${count} alert${count > 1 ? 's' : ''}`) : null,
    icon(CHEVRON, 'chevron'));
}

/** A plot that is made once and drawn again with new points. */
export function plotCard(title, involved) {
  const value = h('span');
  const canvas = h('canvas', { role: 'img', 'aria-label': title });
  const card = h('div.card.plot', { 'data-testid': 'plot', 'data-signal': title }, h('div.title', null, h('b', null, title), value), canvas);
  card.classList.toggle('involved', involved);
  return {
    card,
    draw(options, unitName) {
      const last = options.points.at(-1);
      value.replaceChildren(...(last ? [number(last[1]), h('small', null, unitName)] : []));
      card.dataset.points = options.points.length;
      card.dataset.bands = (options.bands ?? []).length;
      plot(canvas, options);
    },
  };
}

/** Spans of alerts: from the first anomalous score that led to it, to its end. */
export function bandsOf(alerts, scores, to) {
  return alerts.map((event) => {
    let begin = event.opened_at;
    const before = scores.filter((point) => point[0] <= event.opened_at).slice(-6);
    const first = before.find((point) => point[2]);
    if (first) begin = first[0];
    return [begin, event.state === 'resolved' && !event.actor ? event.time : to];
  });
}

export const back = (href, text) => h('a.back', { href }, icon('M15 5l-7 7 7 7'), text);

export function tile(title, value, small, tone) {
  return h('div.card.tile', { 'data-testid': 'tile', 'data-name': title }, h('h2', null, title),
    h(`div.value${tone ? '.tone' : ''}`, null, value, small ? h('small', null, small) : null));
}

export function stage(name, text, flow, history) {
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  requestAnimationFrame(() => sparkline(canvas, history));
  return h('div.stage', { 'data-testid': 'stage', 'data-topic': name },
    h('div', null, h('b', null, text), h('div.small.dim', null, `${whole(flow?.records ?? 0)} in the log`)),
    canvas,
    h('div.rate', null, (flow?.per_second ?? 0) >= 100 ? whole(flow.per_second) : (flow?.per_second ?? 0).toFixed(1), h('small', null, 'per second')));
}

export { whole, since };
