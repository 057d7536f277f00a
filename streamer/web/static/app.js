"use strict";
// The live wall: one WebSocket carries every camera's pictures and, once a second, the status.
// Its protocol is described at the head of streamer/web/feeds.py.

const STATES = {
  connecting: "connecting",
  live: "live",
  stalled: "stalled",
  backing_off: "reconnecting",
  refused: "refused",
  ended: "ended",
  stopped: "stopped",
};
const DOWN = {
  connecting: "Connecting to the camera",
  stalled: "The camera sends no frames",
  backing_off: "The camera is down",
  refused: "The camera refuses us",
  ended: "The recording has ended",
  stopped: "This camera is stopped",
};
const REASONS = {
  stall: "frames stopped coming",
  reset: "the camera broke the connection",
  eof: "the stream ended",
  open_timeout: "it did not answer in time",
  no_video: "it offers no video",
  no_frames: "it gave no frames",
  auth: "user name or password is wrong",
  not_found: "there is no such stream",
  dns: "its host name is unknown",
  unreachable: "it cannot be reached",
  refused: "it refuses connections",
  unsupported_codec: "its video format is not supported",
  too_large: "its pictures are too large",
  flood: "it sends more than it may",
  error: "an error",
};
const SILENCE_MS = 5000; // the status comes every second: longer silence is a lost connection
const BACKOFF_MS = { first: 500, most: 10000 };
const WIDTHS = { step: 160, least: 160, most: 1280 };

const byId = (id) => document.getElementById(id);
const wall = byId("wall");
const tiles = new Map();
const link = {
  socket: null, open: false, heardAt: 0, wait: BACKOFF_MS.first, timer: 0, drawn: 0, toldDrawn: 0,
  asked: "", lostAt: 0, full: false,
};
let staleAfterMs = 3000;
let painting = false;

// ---- words ---------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const number = { format: (n) => (n < 1e6 ? whole : short).format(n) };
const clockOf = (wallMs) => new Date(wallMs).toLocaleTimeString([], { hour12: false });
const facesOf = (n) => (n === 1 ? "1 face" : `${number.format(n)} faces`);

function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function speak(text) {
  byId("spoken").textContent = text;
}

// ---- one camera ----------------------------------------------------------------------------

class Tile {
  constructor(name) {
    this.name = name;
    this.root = byId("tile").content.firstElementChild.cloneNode(true);
    this.root.dataset.camera = name;
    this.find = (selector) => this.root.querySelector(selector);
    this.canvas = this.find("canvas");
    this.pen = this.canvas.getContext("2d", { alpha: false });
    this.status = null; // the camera's part of the last status
    this.picture = null; // header of the picture on the canvas, and when it came
    this.waiting = null; // the newest picture not yet decoded
    this.ready = null; // decoded, to be painted
    this.decoding = false;
    this.said = null;
    put(this.find(".name"), name);
    this.find(".name").title = name;
  }

  take(header, jpeg, at) {
    this.waiting = { header, jpeg, at, socket: link.socket };
    if (!this.decoding) this.decode();
  }

  async decode() {
    this.decoding = true;
    while (this.waiting) {
      const { header, jpeg, at, socket } = this.waiting;
      this.waiting = null;
      try {
        const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
        if (socket !== link.socket) {
          bitmap.close(); // it came over a connection that is lost by now
          continue;
        }
        if (this.ready) this.ready.bitmap.close();
        this.ready = { header, at, bitmap };
        paintSoon();
      } catch {
        if (socket === link.socket) drawn(header.sequence); // no picture: let the next one come
      }
    }
    this.decoding = false;
  }

  paint() {
    if (!this.ready) return;
    const { header, at, bitmap } = this.ready;
    this.ready = null;
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.pen.drawImage(bitmap, 0, 0);
    drawFaces(this.pen, header);
    bitmap.close();
    this.picture = { ...header, at };
    this.root.dataset.frame = header.frame;
    drawn(header.sequence);
    this.tell();
  }

  ageMs() {
    return this.picture ? this.picture.age_ms + (performance.now() - this.picture.at) : null;
  }

  // What may be believed of the picture now: [look, what, why].
  look() {
    const age = this.ageMs();
    const shotAt = age === null ? "" : `the picture is of ${clockOf(Date.now() - age)}`;
    if (!link.open) return ["lost", "Connection to streamer lost", shotAt];
    const status = this.status;
    if (status && status.state !== "live") {
      const since = Date.now() - status.for_s * 1000 - (performance.now() - status.at);
      const because = status.detail || REASONS[status.reason] || status.reason;
      const when = `since ${clockOf(since)} (${span(Date.now() - since)})`;
      const look = status.state === "connecting" ? "waiting" : "down";
      return [look, DOWN[status.state] || status.state, because ? `${because}; ${when}` : when];
    }
    if (age === null) return ["waiting", "Waiting for the first picture", ""];
    if (age >= staleAfterMs) {
      return ["stale", `No new picture for ${span(age)}`, `since ${clockOf(Date.now() - age)}`];
    }
    if (this.picture.status === "failed") {
      return ["failed", "Detection failed", "the faces on this picture are unknown"];
    }
    return ["live", "live", ""];
  }

  tell() {
    const [look, what, why] = this.look();
    const age = this.ageMs();
    const live = look === "live";
    this.root.dataset.look = look;
    if (!live) {
      put(this.find(".what"), what);
      put(this.find(".why"), why);
    }
    const state = this.status ? this.status.state : "connecting";
    const words = { live: "live", stale: "stale", failed: "not looked at", lost: "unknown" };
    put(this.find(".word"), words[look] || STATES[state] || state);
    put(this.find(".count"), live ? facesOf(this.picture.faces) : "– faces");
    put(this.find(".age"), age === null ? "–" : span(age));
    this.canvas.setAttribute(
      "aria-label", live ? `${this.name}, ${facesOf(this.picture.faces)}` : `${this.name}: ${what}`);
    // Spoken only when it changes in kind, and never for what a hidden page could not show.
    const kind = look === "down" ? what : look;
    if (this.said !== null && this.said !== kind && link.open && !document.hidden) {
      speak(`${this.name}: ${live ? "live again" : what}`);
    }
    if (!document.hidden) this.said = kind;
    return live;
  }

  // What the last status said is no longer known to be so.
  blank() {
    for (const name of [".latency", ".capture", ".detect", ".skipped", ".dropped"]) {
      put(this.find(name), "–");
    }
    this.find(".drops").hidden = true;
  }

  read(status) {
    this.status = { ...status, at: performance.now() };
    const ms = (seconds) => (seconds === null ? "–" : `${Math.round(seconds * 1000)}`);
    const p50 = status.latency_p50_s;
    const p99 = status.latency_p99_s;
    const ledger = status.ledger;
    const frames = (n, fps) =>
      number.format(n) + (fps === null ? "" : ` · ${fps.toFixed(1)}/s`);
    const dropped = ledger.dropped.reduce((sum, drop) => sum + drop.frames, 0);
    put(this.find(".latency"), p50 === null ? "–" : `${ms(p50)} / ${ms(p99)} ms`);
    put(this.find(".capture"), frames(ledger.captured, status.capture_fps));
    put(this.find(".detect"), frames(ledger.settled.detected || 0, status.detect_fps));
    put(this.find(".skipped"), number.format(ledger.skipped));
    put(this.find(".dropped"), number.format(dropped));
    const notes = ledger.dropped.map(
      (drop) => `${number.format(drop.frames)} ${drop.reason.replaceAll("_", " ")} (${drop.stage})`);
    if (ledger.settled.failed) notes.unshift(`${number.format(ledger.settled.failed)} not looked at`);
    if (ledger.imbalance) notes.unshift(`${number.format(ledger.imbalance)} unaccounted for: a bug`);
    const drops = this.find(".drops");
    drops.hidden = notes.length === 0;
    put(drops, notes.join(", "));
  }
}

// What was found in this very picture; see found_json in streamer/web/live.py.
function drawFaces(pen, { found, height }) {
  const thick = Math.max(1, Math.round(height / 480));
  pen.font = `600 ${Math.max(11, Math.round(height / 36))}px system-ui, sans-serif`;
  for (const [id, confidence, aged, x1, y1, x2, y2, ...points] of (found || []).toReversed()) {
    pen.strokeStyle = pen.fillStyle = `hsl(${((id * 0.618034) % 1) * 360} 100% 68%)`;
    pen.lineWidth = 2 * thick;
    pen.setLineDash(aged ? [6, 4] : []);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    for (let n = 0; n < points.length; n += 2) pen.fillRect(points[n] - 1, points[n + 1] - 1, 3, 3);
    pen.fillText(aged ? `#${id}` : `#${id} ${Math.round(100 * confidence)}%`, x1, y1 - 4);
  }
}

// ---- painting ------------------------------------------------------------------------------

function paintSoon() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    for (const tile of tiles.values()) tile.paint();
    tellDrawn();
    totals();
  });
}

function drawn(sequence) {
  link.drawn = Math.max(link.drawn, sequence);
  if (!painting) paintSoon();
}

function tellDrawn() {
  // The socket closes a moment before its "close" event clears link.open.
  if (link.drawn > link.toldDrawn && link.open && link.socket.readyState === WebSocket.OPEN) {
    link.toldDrawn = link.drawn;
    link.socket.send(JSON.stringify({ drawn: link.drawn }));
  }
}

function totals() {
  let faces = 0;
  let live = 0;
  for (const tile of tiles.values()) {
    if (document.hidden) {
      // Nothing is painted in a hidden tab; the status still knows.
      const s = tile.status;
      const fresh = s && s.newest_age_s !== null && s.newest_age_s * 1000 < staleAfterMs;
      if (link.open && fresh && s.state === "live") {
        faces += s.faces_now;
        live += 1;
      }
    } else if (tile.root.dataset.look === "live") {
      faces += tile.picture.faces;
      live += 1;
    }
  }
  put(byId("faces"), live ? facesOf(faces) : "faces unknown");
  put(byId("cameras"), `${live} of ${tiles.size} ${tiles.size === 1 ? "camera" : "cameras"} live`);
  const title = live ? `${facesOf(faces)} · streamer` : "streamer";
  if (document.title !== title) document.title = title;
}

// ---- the status ----------------------------------------------------------------------------

function readStatus(message) {
  staleAfterMs = message.stale_after_s * 1000;
  const names = message.cameras.map((camera) => camera.name);
  for (const [name, tile] of tiles) {
    if (!names.includes(name)) {
      tile.root.remove();
      tiles.delete(name);
    }
  }
  for (const camera of message.cameras) tileOf(camera.name).read(camera);
  wall.dataset.cameras = tiles.size;
  if (!tiles.size && !wall.firstElementChild) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "No camera is configured.";
    wall.append(empty);
  }
  const device = message.requested_device === "auto" ? "" : ` (asked for ${message.requested_device})`;
  put(byId("about"), `streamer ${message.version} · ${message.model} on ${message.provider}${device}`
    + ` · up ${span(message.uptime_s * 1000)}`);
  ask();
}

function tileOf(name) {
  let tile = tiles.get(name);
  if (!tile) {
    wall.querySelector(".empty")?.remove();
    tile = new Tile(name);
    tiles.set(name, tile);
    wall.append(tile.root);
  }
  return tile;
}

// ---- the connection ------------------------------------------------------------------------

// Ask for pictures as wide as they are shown, and say that what is drawn will be told.
function ask() {
  let shown = 0;
  for (const tile of tiles.values()) shown = Math.max(shown, tile.canvas.clientWidth);
  const want = Math.ceil(((shown || 480) * (devicePixelRatio || 1)) / WIDTHS.step) * WIDTHS.step;
  const width = Math.min(WIDTHS.most, Math.max(WIDTHS.least, want));
  const text = JSON.stringify({ width, in_flight: Math.min(64, 2 * tiles.size + 2) });
  if (text !== link.asked && link.socket?.readyState === WebSocket.OPEN) {
    link.asked = text;
    link.socket.send(text);
  }
}

function connect() {
  clearTimeout(link.timer);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/ws/live`);
  socket.binaryType = "arraybuffer";
  link.socket = socket;
  link.asked = "";
  link.heardAt = performance.now();
  socket.onopen = ask;
  socket.onmessage = (event) => {
    if (socket !== link.socket) return;
    link.heardAt = performance.now();
    if (!link.open) {
      link.open = true;
      link.full = false;
      link.drawn = link.toldDrawn = 0;
      link.wait = BACKOFF_MS.first;
      byId("lost").hidden = true;
      if (link.lostAt) speak("Connected to streamer again");
    }
    if (typeof event.data === "string") {
      const message = JSON.parse(event.data);
      if (message.type === "status") readStatus(message);
    } else {
      const size = new DataView(event.data).getUint32(0);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, size)));
      tileOf(header.camera).take(header, new Uint8Array(event.data, 4 + size), link.heardAt);
    }
  };
  socket.onclose = (event) => {
    if (socket === link.socket) lose(event.code === 1013);
  };
}

function lose(full) {
  const socket = link.socket;
  link.socket = null;
  if (link.open || !link.lostAt) link.lostAt = Date.now();
  link.open = false;
  link.full = full;
  if (socket) socket.close();
  for (const tile of tiles.values()) {
    // What was on its way belongs to the lost connection.
    tile.waiting = null;
    if (tile.ready) tile.ready.bitmap.close();
    tile.ready = null;
    tile.blank();
  }
  tick();
  clearTimeout(link.timer);
  link.timer = setTimeout(connect, link.wait * (0.75 + 0.5 * Math.random()));
  link.wait = Math.min(BACKOFF_MS.most, 2 * link.wait);
}

function tick() {
  if (link.socket && performance.now() - link.heardAt > SILENCE_MS) return lose(false);
  const lost = byId("lost");
  if (!link.open && link.lostAt) {
    const why = link.full ? "As many people watch as may" : "Connection to streamer lost";
    put(lost, `${why} since ${clockOf(link.lostAt)}; trying again by itself.`);
    lost.hidden = false;
  }
  for (const tile of tiles.values()) tile.tell();
  totals();
}

let resizing = 0;
new ResizeObserver(() => {
  clearTimeout(resizing);
  resizing = setTimeout(ask, 250);
}).observe(wall);
document.addEventListener("visibilitychange", tick);
addEventListener("online", () => link.socket || connect());
setInterval(tick, 500);
connect();
