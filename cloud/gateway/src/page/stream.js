// The connection: resumes by offset, shows each (id, revision) once, keeps commands until they are answered.

const KEY = 'motorcade.alerts.v1';
const OUTBOX = 'motorcade.outbox.v1';
const RESOLVED_KEPT = 30;

const load = (key, otherwise) => {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
};
const save = (key, value) => {
  // A full or forbidden storage costs only the resume.
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* shown as fresh next time */ }
};

/** A UUID of version 7. */
export function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let time = Date.now();
  for (let at = 5; at >= 0; at -= 1) { bytes[at] = time % 256; time = Math.floor(time / 256); }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export class Stream extends EventTarget {
  constructor(token) {
    super();
    this.token = token;
    const kept = load(KEY, {});
    this.epoch = kept.epoch ?? null;
    this.next = kept.next ?? null;
    this.alerts = new Map((kept.alerts ?? []).map((event) => [event.id, event]));
    this.outbox = load(OUTBOX, []);
    this.state = 'connecting';
    this.tries = 0;
    this.heard = 0;
    this.heartbeat = 25000;
    this.paging = null;
    this.timer = null;
    this.socket = null;
    const wake = () => this.wake();
    document.addEventListener('visibilitychange', () => { if (!document.hidden) wake(); });
    addEventListener('online', wake);
    addEventListener('pageshow', wake);
    addEventListener('offline', () => this.drop());
    addEventListener('pagehide', () => this.keep());
    setInterval(() => this.watch(), 1000);
  }

  open() {
    clearTimeout(this.timer);
    if (this.socket) return;
    this.set('connecting');
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/stream`);
    this.socket = socket;
    this.heard = Date.now();
    socket.onopen = () => {
      const hello = { type: 'hello', from: this.next ?? 'snapshot' };
      if (this.epoch) hello.epoch = this.epoch;
      if (this.token()) hello.token = this.token();
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (message) => {
      if (socket !== this.socket) return;
      this.heard = Date.now();
      this.hear(JSON.parse(message.data));
    };
    socket.onclose = (close) => {
      if (socket !== this.socket) return;
      this.socket = null;
      this.paging = null;
      if (close.code === 4501) { this.set('locked'); return; }
      this.again();
    };
  }

  /** Later, with full jitter: half a second doubling to thirty. */
  again() {
    this.set(navigator.onLine === false ? 'offline' : this.tries > 2 ? 'offline' : 'connecting');
    const bound = Math.min(30000, 500 * 2 ** this.tries);
    this.tries = Math.min(this.tries + 1, 10);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), Math.random() * bound);
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    this.paging = null;
    if (socket) socket.close();
    this.again();
  }

  /** The phone woke up or found a network: now, not at the end of a pause. */
  wake() {
    if (this.state === 'locked') return;
    this.tries = 0;
    if (this.socket && Date.now() - this.heard < this.heartbeat) return;
    const socket = this.socket;
    this.socket = null;
    if (socket) socket.close();
    this.open();
  }

  /** A dead network says nothing: silence beyond a heartbeat and some slack is a broken connection. */
  watch() {
    if (this.socket && Date.now() - this.heard > this.heartbeat * 1.4 + 3000) this.drop();
  }

  hear(message) {
    switch (message.type) {
      case 'welcome':
        this.tries = 0;
        this.epoch = message.epoch;
        this.heartbeat = message.heartbeat_ms ?? this.heartbeat;
        this.skew = message.time ? message.time - Date.now() : 0;
        this.set('live');
        for (const command of this.outbox) this.transmit(command);
        break;
      case 'snapshot':
        this.paging = (this.paging ?? []).concat(message.alerts);
        if (message.last) {
          const open = new Set(this.paging.map((row) => row.event.id));
          for (const [id, event] of this.alerts) if (!open.has(id) && event.state !== 'resolved') this.alerts.delete(id);
          for (const row of this.paging) this.take(row.event, false);
          this.paging = null;
          this.next = message.head;
          this.changed();
        }
        break;
      case 'alert':
        this.next = Math.max(this.next ?? 0, message.offset + 1);
        if (this.take(message.event, true)) this.changed();
        break;
      case 'ack_result':
        this.answered(message);
        break;
      case 'ping':
        this.socket?.send('{"type":"pong"}');
        break;
    }
  }

  /** True if it is news: a revision that was not shown yet. */
  take(event, live) {
    const known = this.alerts.get(event.id);
    if (known && known.revision >= event.revision) return false;
    this.alerts.set(event.id, event);
    if (event.state === 'resolved') {
      const resolved = [...this.alerts.values()].filter((each) => each.state === 'resolved').sort((a, b) => b.time - a.time);
      for (const old of resolved.slice(RESOLVED_KEPT)) this.alerts.delete(old.id);
    }
    if (live) this.dispatchEvent(new CustomEvent('news', { detail: { event, first: !known } }));
    return true;
  }

  changed() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.keep(), 300);
    this.dispatchEvent(new Event('alerts'));
  }

  /** State and offset are stored together, so that a resume neither misses nor repeats. */
  keep() {
    if (this.next !== null) save(KEY, { epoch: this.epoch, next: this.next, alerts: [...this.alerts.values()] });
  }

  command(alert, action, actor, extra = {}) {
    if (this.pending(alert)) return;
    const command = { type: 'command', id: uuid7(), alert, action, actor, ...extra };
    this.outbox.push(command);
    save(OUTBOX, this.outbox);
    this.transmit(command);
    this.changed();
  }

  transmit(command) {
    if (this.state === 'live' && this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(command));
  }

  pending(alert) {
    return this.outbox.find((command) => command.alert === alert);
  }

  answered(result) {
    const again = !result.ok && (result.status === 429 || result.status >= 500);
    if (again) {
      const command = this.outbox.find((each) => each.id === result.id);
      if (command) setTimeout(() => this.outbox.includes(command) && this.transmit(command), 1000 + Math.random() * 2000);
      return;
    }
    this.outbox = this.outbox.filter((command) => command.id !== result.id);
    save(OUTBOX, this.outbox);
    if (!result.ok) this.dispatchEvent(new CustomEvent('refused', { detail: result.detail ?? 'refused' }));
    this.changed();
  }

  set(state) {
    if (this.state === state && this.told) return;
    this.told = true;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
