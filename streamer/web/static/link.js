// The one connection to streamer: /ws/live. It comes back by itself, and says when it is gone.
// Its protocol is described at the head of streamer/web/feeds.py.

const SILENCE_MS = 5000; // the status comes every second: longer silence is a lost connection
const BACKOFF_MS = { first: 500, most: 10000 };
const FULL = 1013;

export class Link {
  // `heard` has opened(again), lost(), status(message), viewer(message), changes(message) and
  // picture(header, jpeg, at).
  constructor(heard) {
    this.heard = heard;
    this.open = false;
    this.full = false;
    this.lostAt = 0; // wall clock, milliseconds; 0 before the first loss
    this.life = 0; // grows with every connection: what came over an old one is not shown
    this.socket = null;
    this.heardAt = 0;
    this.wait = BACKOFF_MS.first;
    this.timer = 0;
    this.wish = "";
    this.drawn = 0;
    this.toldDrawn = 0;
    addEventListener("online", () => this.socket || this.connect());
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.life += 1;
    this.told = "";
    this.drawn = this.toldDrawn = 0;
    this.heardAt = performance.now();
    socket.onopen = () => this.ask(this.wish);
    socket.onmessage = (event) => socket === this.socket && this.hear(event.data);
    socket.onclose = (event) => socket === this.socket && this.lose(event.code === FULL);
  }

  hear(data) {
    this.heardAt = performance.now();
    if (!this.open) {
      this.open = true;
      this.full = false;
      this.wait = BACKOFF_MS.first;
      this.heard.opened(this.lostAt > 0);
    }
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (["status", "viewer", "changes"].includes(message.type)) this.heard[message.type](message);
      return;
    }
    const size = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
    this.heard.picture(header, new Uint8Array(data, 4 + size), this.heardAt);
  }

  lose(full) {
    const socket = this.socket;
    if (!this.open && !full) this.mayHaveToLogIn();
    this.socket = null;
    if (this.open || !this.lostAt) this.lostAt = Date.now();
    this.open = false;
    this.full = full;
    socket?.close();
    this.heard.lost();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), this.wait * (0.75 + 0.5 * Math.random()));
    this.wait = Math.min(BACKOFF_MS.most, 2 * this.wait);
  }

  // The server answers, but not us: the login has run out, or is asked for since a restart.
  async mayHaveToLogIn() {
    try {
      const answer = await fetch("/", { method: "HEAD", redirect: "manual", cache: "no-store" });
      if (answer.status === 401 || answer.type === "opaqueredirect") location.reload();
    } catch {
      // it does not answer at all
    }
  }

  // To be called often: a connection that only goes silent is a lost one.
  watch() {
    if (this.socket && performance.now() - this.heardAt > SILENCE_MS) this.lose(false);
  }

  get ready() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  // Say which pictures are wanted (text), now and after each loss.
  ask(wish) {
    this.wish = wish;
    if (!wish || wish === this.told || !this.ready) return;
    this.told = wish;
    this.socket.send(wish);
  }

  // Say what was drawn: no more than a few pictures are ever on the way.
  drew(sequence) {
    this.drawn = Math.max(this.drawn, sequence);
  }

  tellDrawn() {
    if (this.drawn > this.toldDrawn && this.open && this.ready) {
      this.toldDrawn = this.drawn;
      this.socket.send(JSON.stringify({ drawn: this.drawn }));
    }
  }
}
