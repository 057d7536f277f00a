// One camera on the wall: its newest picture, what may be believed of it, and its figures.

import { drawFaces } from "./faces.js";
import { DOWN, REASONS, STATES, clock, count, faces, ms, put, putMs, rate, span, why } from "./words.js";

const HISTORY = 300; // seconds
const EVENTS = 60;
const TELL_MS = 250;
const GONE_MS = 1500; // a face that is not seen for so long has left

export class Tile {
  // `around` is what all tiles share: {link, staleAfterMs, boxes, soon, say}.
  constructor(name, around) {
    this.name = name;
    this.around = around;
    this.root = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    this.root.dataset.camera = name;
    this.find = (selector) => this.root.querySelector(selector);
    this.canvas = this.find("canvas");
    this.pen = this.canvas.getContext("2d", { alpha: false });
    this.view = this.find(".view");
    this.status = null; // the camera's part of the last status
    this.picture = null; // header of the picture on the canvas, and when it came
    this.waiting = null; // the newest picture not yet decoded
    this.ready = null; // decoded, to be painted
    this.shown = null; // what is on the canvas, to paint it anew at another size
    this.decoding = false;
    this.epoch = -1; // of the picture that stood here when the last status came
    this.said = null;
    this.paused = false;
    this.inSight = true;
    this.history = []; // {t, captured, detected, p50, p95, shown}, one a second
    this.ages = []; // of the pictures painted in this second, ms
    this.events = []; // {at, kind, text} of faces, newest last; wall clock
    this.changes = []; // the same of the camera's states
    this.toldAt = 0;
    this.downSince = null; // wall clock: since when it is not live, over all attempts
    this.lostBy = null; // the newest change that has a reason
    this.people = new Map(); // id -> {since, last}
    const button = this.find(".name");
    put(button, name);
    button.title = name;
  }

  // ---- pictures ----------------------------------------------------------------------------

  take(header, jpeg, at) {
    this.waiting = { header, jpeg, at, life: this.around.link.life };
    if (!this.decoding) this.decode();
  }

  async decode() {
    this.decoding = true;
    while (this.waiting) {
      const { header, jpeg, at, life } = this.waiting;
      this.waiting = null;
      const current = () => life === this.around.link.life && this.around.link.open;
      try {
        const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
        if (!current()) {
          bitmap.close(); // it came over a connection that is lost by now
          continue;
        }
        this.ready?.bitmap.close();
        this.ready = { header, at, bitmap };
        this.around.soon();
      } catch {
        if (current()) this.around.link.drew(header.sequence); // no picture: let the next one come
        this.around.soon();
      }
    }
    this.decoding = false;
  }

  paint() {
    if (!this.ready) return;
    const { header, at, bitmap } = this.ready;
    this.ready = null;
    if (this.bare(header)) { // it came late: its faces are to be covered by now
      bitmap.close();
      this.around.link.drew(header.sequence);
      return;
    }
    this.shown?.bitmap.close();
    this.shown = { header, bitmap };
    if (this.epoch < 0) this.epoch = header.epoch;
    this.repaint();
    this.picture = { faces: header.faces, status: header.status, age_ms: header.age_ms, at };
    this.ages.push(this.ageMs());
    this.root.dataset.frame = header.frame;
    this.root.dataset.width = header.width; // of the picture as it came
    this.around.link.drew(header.sequence);
    this.meet(header.found);
    // Words that change 25 times a second can't be read: what matters is told at once.
    const news = this.root.dataset.look !== "live" || header.status !== "live";
    if (news || performance.now() - this.toldAt > TELL_MS) this.tell();
  }

  // The picture and its faces, both of one frame, at the size of the canvas.
  repaint() {
    if (!this.shown) return;
    const { header, bitmap } = this.shown;
    const { canvas, pen } = this;
    const dpr = devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.view.clientWidth * dpr));
    const height = Math.max(1, Math.round(this.view.clientHeight * dpr));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    let scale = Math.min(width / bitmap.width, height / bitmap.height);
    // A pixel of black at one side is no gain: fill it.
    const close = Math.abs(width / height - bitmap.width / bitmap.height) < 0.02;
    const [w, h] = close ? [width, height] : [bitmap.width * scale, bitmap.height * scale];
    scale = w / bitmap.width;
    const place = { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h, scale, dpr };
    if (!close) {
      pen.fillStyle = "#05070a";
      pen.fillRect(0, 0, width, height);
    }
    pen.drawImage(bitmap, place.left, place.top, w, h);
    if (this.around.boxes && header.found) drawFaces(pen, header.found, place, !this.covered);
  }

  drop() {
    // What was on its way belongs to a connection that is lost.
    this.waiting = null;
    this.ready?.bitmap.close();
    this.ready = null;
  }

  // Nothing of the camera is to be seen any more.
  forget() {
    this.drop();
    this.shown?.bitmap.close();
    this.shown = this.picture = null;
    this.pen.fillStyle = "#05070a";
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  remove() {
    this.forget();
    this.root.remove();
  }

  bare(header) {
    return this.covered && header.privacy === "none";
  }

  // ---- what happened -----------------------------------------------------------------------

  // Who came and who left, as far as this page saw it.
  meet(found) {
    if (!found) return;
    const now = Date.now();
    for (const [id, confidence, aged] of found) {
      const known = this.people.get(id);
      if (known) known.last = now;
      else if (!aged) {
        this.people.set(id, { since: now, last: now });
        this.note("came", `Face #${id} seen, ${Math.round(100 * confidence)}%`, now);
      }
    }
    for (const [id, { since, last }] of this.people) {
      if (now - last < GONE_MS) continue;
      this.people.delete(id);
      this.note("went", `Face #${id} gone after ${span(Math.max(1000, last - since))}`, last);
    }
  }

  note(kind, text, at) {
    this.events.push({ kind, text, at });
    if (this.events.length > EVENTS) this.events.shift();
  }

  readChanges({ changes, down_for_s }) {
    const now = Date.now();
    this.downSince = down_for_s === null ? null : now - down_for_s * 1000;
    this.lostBy = changes.findLast((change) => change.reason) ?? null;
    this.changes = changes.map((change) => {
      const live = change.state === "live";
      const because = live ? (change.frozen ? "the picture does not change" : "") : why(change);
      const text = live ? "Live" : DOWN[change.state] || change.state;
      const kind = live ? (change.frozen ? "wait" : "good")
        : change.state === "connecting" ? "wait" : "bad";
      return { kind, text: because ? `${text}: ${because}` : text, at: now - change.ago_s * 1000 };
    });
  }

  get story() {
    return [...this.changes, ...this.events].sort((a, b) => b.at - a.at).slice(0, EVENTS);
  }

  // ---- what may be believed ----------------------------------------------------------------

  ageMs() {
    return this.picture ? this.picture.age_ms + (performance.now() - this.picture.at) : null;
  }

  since() {
    const { for_s, at } = this.status;
    return Date.now() - for_s * 1000 - (performance.now() - at);
  }

  // What may be believed of the picture now: [look, what, since when, why].
  look() {
    const age = this.ageMs();
    const shotAt = age === null ? "" : `the picture is of ${clock(Date.now() - age)}`;
    if (!this.around.link.open) return ["lost", "Connection to streamer lost", shotAt, ""];
    const status = this.status;
    if (status && status.state !== "live") return this.lookDown(status);
    // No pictures are asked for of what is out of sight: that is not the camera's fault.
    if (!this.inSight) return ["unseen", "", "", ""];
    if (age === null) return ["waiting", "Waiting for the first picture", "", ""];
    if (age >= this.around.staleAfterMs) {
      return ["stale", `No new picture for ${span(age)}`, `since ${clock(Date.now() - age)}`,
        this.paused ? "there is too much to do: this camera is not looked at" : ""];
    }
    if (this.picture.status === "failed") {
      return ["failed", "Detection failed", "the faces on this picture are unknown", ""];
    }
    return ["live", "live", "", ""];
  }

  lookDown(status) {
    const since = Math.min(this.downSince ?? Infinity, this.since());
    const when = `since ${clock(since)} (${span(Math.max(1000, Date.now() - since))})`;
    if (status.state === "connecting" && status.attempts < 2) {
      return ["waiting", DOWN.connecting, when, why(status)];
    }
    if (status.state === "connecting") {
      // It was lost, and is being dialled again: still down, for the same reason.
      const because = why(this.lostBy ?? status);
      return ["down", DOWN.backing_off, when, because ? `${because}; trying again now` : ""];
    }
    const known = status.retry_in_s !== null && status.retry_in_s !== undefined;
    const left = known ? status.retry_in_s * 1000 - (performance.now() - status.at) : 0;
    const next = left > 1000 ? `trying again in ${span(left)}` : "";
    const because = [why(status), next].filter(Boolean).join("; ");
    return ["down", DOWN[status.state] || status.state, when, because];
  }

  tell() {
    this.toldAt = performance.now();
    const [look, what, when, because] = this.look();
    const age = this.ageMs();
    const live = look === "live";
    this.root.dataset.look = look;
    if (!live) {
      put(this.find(".what"), what);
      put(this.find(".when"), when);
      put(this.find(".why"), because);
    }
    const state = this.status ? this.status.state : "connecting";
    const words = { live: "live", stale: "stale", failed: "not looked at", lost: "unknown" };
    put(this.find(".word"), words[look] || STATES[state] || state);
    put(this.find(".count"), live ? faces(this.picture.faces) : "– faces");
    putMs(this.find(".age"), age === null ? "–" : span(age));
    const badge = this.find(".badge");
    const notes = [this.status?.frozen && "picture does not change", this.covered && "faces covered"];
    const noted = live ? notes.filter(Boolean).join(" · ") : "";
    badge.hidden = !noted;
    put(badge, noted);
    const seen = live ? `${this.name}, ${faces(this.picture.faces)}`
      : what ? `${this.name}: ${what}` : this.name;
    if (this.seen !== seen) this.canvas.setAttribute("aria-label", (this.seen = seen));
    // Spoken only when it changes in kind, and never for what a hidden page could not show.
    const kind = look === "down" ? what : look;
    const watched = !document.hidden && look !== "unseen";
    if (this.said !== null && this.said !== kind && this.around.link.open && watched) {
      this.around.say(`${this.name}: ${live ? "live again" : what}`);
    }
    if (watched) this.said = kind;
    return live;
  }

  get covered() {
    return (this.status?.privacy ?? "none") !== "none";
  }

  // What the last status said is no longer known to be so.
  blank() {
    for (const name of [".fps", ".p95"]) put(this.find(name), "–");
  }

  read(status, load) {
    const now = performance.now();
    const other = this.status && this.status.url !== status.url;
    this.status = { ...status, at: now };
    // What is shown is of another camera, or of when its faces were not to be covered.
    const header = this.shown?.header;
    if (header && (this.bare(header) || (other && header.epoch <= this.epoch))) this.forget();
    this.epoch = this.shown?.header.epoch ?? -1;
    this.paused = load.paused.includes(this.name);
    const live = status.state === "live";
    put(this.find(".fps"), rate(live ? status.detect_fps : 0));
    putMs(this.find(".p95"), ms(status.latency_p95_s));
    const seconds = (value) => (live && value !== null ? value * 1000 : null);
    const sorted = this.ages.toSorted((a, b) => a - b);
    this.ages = [];
    this.history.push({
      t: now,
      captured: live ? status.capture_fps : null,
      detected: live ? status.detect_fps : null,
      p95: seconds(status.latency_p95_s),
      shown: sorted.length ? sorted[sorted.length >> 1] : null,
    });
    if (this.history.length > HISTORY) this.history.shift();
  }

  // Everything that is known in figures, for the one that is shown large.
  facts() {
    const s = this.status;
    if (!s) return [];
    const { ledger } = s;
    const dropped = ledger.dropped.reduce((sum, drop) => sum + drop.frames, 0);
    const reasons = ledger.dropped.map(
      (drop) => `${count(drop.frames)} ${drop.reason.replaceAll("_", " ")} (${drop.stage})`);
    if (ledger.settled.failed) reasons.unshift(`${count(ledger.settled.failed)} not looked at`);
    if (ledger.imbalance) reasons.unshift(`${count(ledger.imbalance)} unaccounted for: a bug`);
    const losses = Object.entries(s.losses).map(
      ([reason, times]) => `${count(times)} × ${REASONS[reason] || reason}`);
    return [
      ["Captured", count(ledger.captured), `${rate(s.capture_fps)} fps`],
      ["Looked at", count(ledger.settled.detected || 0), `${rate(s.detect_fps)} fps`],
      ["Predicted", count(ledger.settled.tracked || 0), ""],
      ["Skipped", count(ledger.skipped), ""],
      ["Dropped", count(dropped), reasons.join(", ")],
      ["Latency", [s.latency_p50_s, s.latency_p95_s, s.latency_p99_s].map(ms).join(" · ").replaceAll(" ms ·", " ·"),
        "p50 · p95 · p99"],
      ["Lost", `${count(Object.values(s.losses).reduce((a, b) => a + b, 0))} times`,
        losses.join(", ")],
      ["Source", s.url, ""],
    ];
  }
}
