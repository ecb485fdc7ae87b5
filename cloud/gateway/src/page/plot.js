// A small canvas plotter: one line, anomalous spans as bands, an optional threshold.

const theme = () => {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { line: value('--accent'), grid: value('--line'), text: value('--faint'), band: value('--band'), mark: value('--critical') };
};

function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Round steps that fit about `count` times. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? rough;
  const out = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) out.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return { out, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/**
 * points: [time ms, value, anomalous?][]; span: [from, to]; bands: [from, to][]; marks: times of alerts.
 */
export function plot(canvas, { points, span, bands = [], marks = [], threshold, floor }) {
  const { context, width, height } = prepare(canvas);
  if (width === 0) return;
  const colours = theme();
  const [left, right, top, bottom] = [36, width - 4, 8, height - 18];
  let low = Infinity;
  let high = -Infinity;
  for (const [, value] of points) { low = Math.min(low, value); high = Math.max(high, value); }
  if (!Number.isFinite(low)) { low = 0; high = 1; }
  if (threshold !== undefined) high = Math.max(high, threshold * 1.25);
  if (floor !== undefined) low = Math.min(low, floor);
  const least = Math.max(Math.abs(high) * 0.05, 0.5);
  if (high - low < least) { const middle = (high + low) / 2; low = middle - least / 2; high = middle + least / 2; }
  const pad = (high - low) * 0.08;
  if (floor === undefined) low -= pad;
  high += pad;
  const [from, to] = span;
  const x = (time) => left + ((time - from) / Math.max(1, to - from)) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);

  context.font = '10.5px Inter, system-ui, sans-serif';
  context.fillStyle = colours.band;
  for (const [begin, end] of bands) {
    const [a, b] = [Math.max(left, x(begin)), Math.min(right, x(end))];
    if (b >= a) context.fillRect(a, top, Math.max(2, b - a), bottom - top);
  }
  context.strokeStyle = colours.grid;
  context.lineWidth = 1;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  const scale = ticks(low, high, 3);
  for (const value of scale.out) {
    const at = Math.round(y(value)) + 0.5;
    context.beginPath(); context.moveTo(left, at); context.lineTo(right, at); context.stroke();
    context.fillStyle = colours.text;
    context.fillText(Math.abs(value) >= 10000 ? value.toExponential(0) : value.toFixed(scale.digits), left - 6, at);
  }
  context.textBaseline = 'alphabetic';
  const clock = (time) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  context.fillStyle = colours.text;
  context.textAlign = 'left'; context.fillText(clock(from), left, height - 4);
  context.textAlign = 'center'; context.fillText(clock((from + to) / 2), (left + right) / 2, height - 4);
  context.textAlign = 'right'; context.fillText(clock(to), right, height - 4);

  if (threshold !== undefined) {
    context.strokeStyle = colours.mark;
    context.setLineDash([5, 4]);
    context.beginPath(); context.moveTo(left, y(threshold)); context.lineTo(right, y(threshold)); context.stroke();
    context.setLineDash([]);
  }
  context.save();
  context.beginPath(); context.rect(left, top - 4, right - left, bottom - top + 8); context.clip();
  context.strokeStyle = colours.line;
  context.lineWidth = 1.75;
  context.lineJoin = 'round';
  context.beginPath();
  // A hole in time is a hole in the line: nothing was measured there.
  const steps = points.slice(1).map((point, at) => point[0] - points[at][0]).sort((a, b) => a - b);
  const hole = Math.max(15000, (steps[Math.floor(steps.length / 2)] ?? 0) * 6);
  points.forEach(([time, value], at) => {
    if (at === 0 || time - points[at - 1][0] > hole) context.moveTo(x(time), y(value)); else context.lineTo(x(time), y(value));
  });
  context.stroke();
  // What was judged anomalous is drawn over the line, in the colour of the mark.
  context.strokeStyle = colours.mark;
  context.lineWidth = 2;
  context.beginPath();
  points.forEach(([time, value, anomalous], at) => {
    if (anomalous !== true) return;
    const before = points[at - 1];
    if (before && time - before[0] <= hole) context.moveTo(x(before[0]), y(before[1])); else context.moveTo(x(time) - 1, y(value));
    context.lineTo(x(time), y(value));
  });
  context.stroke();
  context.strokeStyle = colours.mark;
  context.lineWidth = 1.25;
  for (const mark of marks) {
    if (mark < from || mark > to) continue;
    context.beginPath(); context.moveTo(x(mark), top); context.lineTo(x(mark), bottom); context.stroke();
    context.fillStyle = colours.mark;
    context.beginPath(); context.moveTo(x(mark) - 4, top - 4); context.lineTo(x(mark) + 4, top - 4); context.lineTo(x(mark), top + 3); context.fill();
  }
  context.restore();
}

/** A rate over the last minutes, without axes. */
export function sparkline(canvas, values) {
  const { context, width, height } = prepare(canvas);
  if (width === 0 || values.length < 2) return;
  const high = Math.max(...values, 1);
  context.strokeStyle = theme().line;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.beginPath();
  values.forEach((value, at) => {
    const point = [(at / (values.length - 1)) * (width - 2) + 1, height - 3 - (value / high) * (height - 6)];
    if (at === 0) context.moveTo(...point); else context.lineTo(...point);
  });
  context.stroke();
}
