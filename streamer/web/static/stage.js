// One camera large: its picture, its charts of the last minutes, its figures and its events.

import { drawChart } from "./chart.js";
import { clock, put, span } from "./words.js";

const byId = (id) => document.getElementById(id);

export class Stage {
  constructor() {
    this.tile = null;
    this.written = "";
  }

  show(tile) {
    this.tile = tile;
    byId("spot").replaceChildren(tile.root);
    put(byId("stage-name"), tile.name);
    const path = `/api/v1/cameras/${encodeURIComponent(tile.name)}`;
    byId("snapshot").href = `${path}/snapshot.jpg?width=1920`;
    byId("mjpeg").href = `${path}/live.mjpg?width=1280`;
    this.written = "";
    this.tell();
    this.draw();
  }

  leave() {
    const tile = this.tile;
    this.tile = null;
    return tile;
  }

  // Words that change with time.
  tell() {
    const { tile } = this;
    if (!tile) return;
    const [look, what, when, why] = tile.look();
    byId("stage-state").dataset.look = look;
    const since = tile.status && look === "live"
      ? `live since ${clock(tile.since())} (${span(Date.now() - tile.since())})`
      : [what, when, why].filter(Boolean).join("; ");
    put(byId("stage-state"), since);
  }

  // What comes with each status: figures, charts and events.
  draw() {
    const { tile } = this;
    if (!tile) return;
    const facts = tile.facts();
    const list = byId("facts");
    while (list.children.length > facts.length) list.lastElementChild.remove();
    facts.forEach(([title, value, more], n) => {
      let row = list.children[n];
      if (!row) {
        row = document.createElement("div");
        row.append(...["dt", "dd", "dd"].map((kind) => document.createElement(kind)));
        row.lastElementChild.className = "more";
        list.append(row);
      }
      [title, value, more].forEach((text, part) => put(row.children[part], text));
    });
    this.chart();
    this.events();
  }

  chart() {
    const { history } = this.tile;
    const times = history.map(({ t }) => t);
    const values = (key) => history.map((second) => second[key]);
    const now = performance.now();
    drawChart(byId("fps-chart"), times, [
      { name: "captured", colour: "--second", values: values("captured") },
      { name: "looked at", colour: "--first", fill: true, values: values("detected") },
    ], { least: 5, unit: " fps", now });
    drawChart(byId("latency-chart"), times, [
      { name: "published, p95", colour: "--second", values: values("p95") },
      { name: "on this page", colour: "--first", fill: true, values: values("shown") },
    ], { least: 50, unit: " ms", now });
  }

  events() {
    const story = this.tile.story;
    const today = new Date().toDateString();
    const key = JSON.stringify(story);
    if (key === this.written) return;
    this.written = key;
    byId("events").replaceChildren(...story.map(({ at, kind, text }) => {
      const row = document.createElement("li");
      row.dataset.kind = kind;
      const time = document.createElement("time");
      const when = new Date(at);
      time.dateTime = when.toISOString();
      time.textContent = when.toDateString() === today ? clock(at)
        : `${when.toLocaleDateString()} ${clock(at)}`;
      row.append(time, text);
      return row;
    }));
    byId("no-events").hidden = story.length > 0;
  }
}
