// The live wall: one WebSocket carries every camera's pictures and, once a second, the status.

import { GAP, layout } from "./layout.js";
import { Link } from "./link.js";
import { Stage } from "./stage.js";
import { Tile } from "./tile.js";
import { clock, faces, overload, put, span } from "./words.js";

const WIDTHS = { step: 160, least: 160, most: 1920 };

const byId = (id) => document.getElementById(id);
const wall = byId("wall");
const tiles = new Map(); // name -> Tile, in the order of the status
const stage = new Stage();
let columns = 1;
let painting = false;
let asking = 0;

const around = {
  link: null,
  staleAfterMs: 3000,
  boxes: true,
  soon: paintSoon,
  say: (text) => put(byId("spoken"), text),
};

// ---- painting ------------------------------------------------------------------------------

function paintSoon() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    for (const tile of tiles.values()) tile.paint();
    around.link.tellDrawn();
    totals();
  });
}

function totals() {
  let found = 0;
  let live = 0;
  let down = 0;
  for (const tile of tiles.values()) {
    const s = tile.status;
    // What is not painted (a hidden tab, a tile out of sight) the status still knows.
    const unseen = document.hidden || !tile.inSight;
    const fresh = s && s.newest_age_s !== null && s.newest_age_s * 1000 < around.staleAfterMs;
    if (unseen ? around.link.open && fresh && s.state === "live" : tile.root.dataset.look === "live") {
      found += unseen ? s.faces_now : tile.picture.faces;
      live += 1;
    } else if (["down", "stale", "failed"].includes(tile.root.dataset.look)) down += 1;
  }
  put(byId("faces"), live ? faces(found) : "faces unknown");
  put(byId("cameras"), `${live} of ${tiles.size} ${tiles.size === 1 ? "camera" : "cameras"} live`);
  byId("cameras").dataset.look = !around.link.open ? "lost" : down ? "down"
    : live === tiles.size && live ? "live" : "waiting";
  const title = live ? `${faces(found)} · streamer` : "streamer";
  if (document.title !== title) document.title = title;
}

// ---- where the tiles are -------------------------------------------------------------------

function arrange() {
  const one = stage.tile !== null;
  document.body.dataset.view = one ? "one" : "wall";
  byId("stage").hidden = !one;
  byId("back").hidden = !one;
  if (one) wall.dataset.lines = "strip";
  else if (tiles.size) {
    const seen = [...tiles.values()].filter((tile) => tile.shown).map((tile) =>
      tile.shown.bitmap.width / tile.shown.bitmap.height).sort((a, b) => a - b);
    const aspect = Math.min(2.4, Math.max(0.75, seen.length ? seen[seen.length >> 1] : 16 / 9));
    const plan = layout(tiles.size, wall.clientWidth - 24, wall.clientHeight - 20, aspect);
    columns = plan.columns;
    wall.dataset.scrolls = plan.scrolls;
    wall.dataset.lines = plan.lines;
    wall.style.setProperty("--used", `${columns * (plan.tile + GAP) - GAP + 1}px`);
    wall.style.setProperty("--tile", `${plan.tile}px`);
    wall.style.setProperty("--aspect", aspect);
  }
  for (const tile of tiles.values()) tile.repaint();
  askSoon();
}

function open(name) {
  const tile = tiles.get(name);
  if (!tile || tile === stage.tile) return;
  close(false);
  stage.show(tile);
  arrange();
  stage.draw(); // now that its charts have a size
  const hash = `#${encodeURIComponent(name)}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  byId("stage").focus({ preventScroll: true });
}

function close(back = true) {
  const tile = stage.leave();
  if (!tile) return;
  wall.replaceChildren(...[...tiles.values()].map(({ root }) => root));
  if (!back) return;
  arrange();
  if (location.hash) history.pushState(null, "", location.pathname);
  tile.find(".name").focus({ preventScroll: true });
}

// The address names the camera that is shown large: the back button and bookmarks work.
function followAddress() {
  let name = "";
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch {
    // a broken address is the wall's
  }
  if (tiles.has(name)) open(name);
  else close();
}

const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const tile = tiles.get(target.dataset.camera);
    if (tile) tile.inSight = isIntersecting;
  }
  askSoon();
}, { rootMargin: "120px" });

const sizes = new ResizeObserver(() => arrange());

// ---- what is asked for ---------------------------------------------------------------------

function askSoon() {
  clearTimeout(asking);
  asking = setTimeout(ask, 120);
}

// Pictures as wide as they are shown, none of what is out of sight, none in a hidden tab.
function ask() {
  const wanted = (tile) => {
    const pixels = (tile.view.clientWidth || 320) * (devicePixelRatio || 1);
    const steps = Math.ceil(pixels / WIDTHS.step) * WIDTHS.step;
    return Math.min(WIDTHS.most, Math.max(WIDTHS.least, steps));
  };
  if (document.hidden || !tiles.size) {
    around.link.ask(JSON.stringify({ width: document.hidden ? 0 : 480, widths: {} }));
    return;
  }
  const inSight = [...tiles.values()].filter((tile) => tile.inSight);
  const votes = inSight.filter((tile) => tile !== stage.tile).map(wanted);
  const width = votes.length ? Math.max(...votes) : WIDTHS.least;
  const widths = {};
  for (const tile of tiles.values()) {
    if (!tile.inSight) widths[tile.name] = 0;
    else if (tile === stage.tile) widths[tile.name] = wanted(tile);
  }
  // One of each camera on the way and one more: a page that is slow gets fewer, none of them old.
  around.link.ask(JSON.stringify({ width, widths, in_flight: Math.min(128, inSight.length + 1) }));
}

// ---- what is heard -------------------------------------------------------------------------

const heard = {
  opened(again) {
    byId("lost").hidden = true;
    if (again) around.say("Connected to streamer again");
  },

  lost() {
    for (const tile of tiles.values()) {
      tile.drop();
      tile.blank();
    }
    tick();
  },

  status(message) {
    around.staleAfterMs = message.stale_after_s * 1000;
    const names = message.cameras.map(({ name }) => name);
    let changed = false;
    for (const [name, tile] of tiles) {
      if (names.includes(name)) continue;
      if (stage.tile === tile) close();
      sight.unobserve(tile.root);
      tile.remove();
      tiles.delete(name);
      changed = true;
    }
    for (const camera of message.cameras) {
      changed ||= !tiles.has(camera.name);
      tileOf(camera.name).read(camera, message.load);
    }
    byId("empty").hidden = tiles.size > 0;
    if (changed) {
      arrange();
      followAddress();
    }
    const device = message.requested_device === "auto" ? "" : ` (asked for ${message.requested_device})`;
    put(byId("about"), `streamer ${message.version} · ${message.model} on ${message.provider}${device}`
      + ` · up ${span(message.uptime_s * 1000)}`);
    put(byId("load"), overload(message.load));
    stage.draw();
  },

  viewer({ sent, dropped }) {
    const missed = dropped.slow + dropped.busy;
    put(byId("viewer"), `this page: ${sent} pictures${missed ? `, ${missed} not sent` : ""}`);
    byId("viewer").title = `not sent: ${dropped.slow} because this page was slow, `
      + `${dropped.busy} because streamer was, ${dropped.paced} beyond 25 a second`;
  },

  changes(message) {
    tileOf(message.camera).readChanges(message);
    if (stage.tile?.name === message.camera) stage.events();
  },

  picture(header, jpeg, at) {
    const tile = tileOf(header.camera);
    const first = !tile.shown && !tile.decoding;
    tile.take(header, jpeg, at);
    if (first) setTimeout(arrange, 200); // its aspect counts
  },
};

function tileOf(name) {
  let tile = tiles.get(name);
  if (!tile) {
    tile = new Tile(name, around);
    tile.root.addEventListener("click", () => open(name));
    tiles.set(name, tile);
    wall.append(tile.root);
    sizes.observe(tile.view);
    sight.observe(tile.root);
  }
  return tile;
}

function tick() {
  const { link } = around;
  link.watch();
  const lost = byId("lost");
  if (!link.open && link.lostAt) {
    const why = link.full ? "As many people watch as may" : "Connection to streamer lost";
    put(lost, `${why} since ${clock(link.lostAt)} (${span(Date.now() - link.lostAt)}). `
      + "Nothing below is live; trying again by itself.");
    lost.hidden = false;
  }
  for (const tile of tiles.values()) tile.tell();
  stage.tell();
  totals();
  put(byId("clock"), clock(Date.now()));
}

// ---- what people do ------------------------------------------------------------------------

function toggleBoxes() {
  around.boxes = !around.boxes;
  byId("boxes").setAttribute("aria-pressed", around.boxes);
  for (const tile of tiles.values()) tile.repaint();
}

function toggleTheme() {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("streamer-theme", dataset.theme);
  } catch {
    // it will be forgotten
  }
  stage.draw();
}

async function toggleFullScreen() {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else {
      await document.documentElement.requestFullscreen();
      await navigator.wakeLock?.request("screen"); // a wall screen does not go to sleep
    }
  } catch {
    // not allowed here: nothing happens
  }
}

function toggleHelp() {
  const help = byId("help");
  if (help.open) help.close();
  else help.showModal();
}

function move(key) {
  const names = [...tiles.keys()];
  if (stage.tile) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
    open(names[(names.indexOf(stage.tile.name) + step + names.length) % names.length]);
    return;
  }
  const at = names.indexOf(document.activeElement?.closest?.(".tile")?.dataset.camera);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const next = at < 0 ? 0 : at + step;
  tiles.get(names[next] ?? names[at])?.find(".name").focus();
}

const keys = {
  f: toggleFullScreen,
  b: toggleBoxes,
  t: toggleTheme,
  "?": toggleHelp,
  Escape: () => close(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) {
    if (event.key === "?") toggleHelp();
    return;
  }
  const { key } = event;
  if (key.startsWith("Arrow") && tiles.size) move(key);
  else if (/^[1-9]$/.test(key)) open([...tiles.keys()][key - 1]);
  else if (keys[key] || keys[key.toLowerCase()]) (keys[key] || keys[key.toLowerCase()])();
  else return;
  event.preventDefault();
});

byId("back").onclick = () => close();
byId("boxes").onclick = toggleBoxes;
byId("theme").onclick = toggleTheme;
byId("screen").onclick = toggleFullScreen;
byId("ask").onclick = toggleHelp;
byId("close").onclick = () => byId("help").close();
byId("help").onclick = (event) => event.target === byId("help") && byId("help").close();
addEventListener("popstate", followAddress);
addEventListener("hashchange", followAddress);
document.addEventListener("visibilitychange", () => {
  ask();
  tick();
});
sizes.observe(wall);
sizes.observe(byId("fps-chart"));
setInterval(tick, 500);
around.link = new Link(heard);
ask();
