// What states and reasons are called, and how numbers and times are written.

export const STATES = {
  connecting: "connecting",
  live: "live",
  stalled: "stalled",
  backing_off: "reconnecting",
  refused: "refused",
  ended: "ended",
  stopped: "stopped",
};

export const DOWN = {
  connecting: "Connecting to the camera",
  stalled: "The camera sends no frames",
  backing_off: "The camera is down",
  refused: "The camera refuses us",
  ended: "The recording has ended",
  stopped: "This camera is stopped",
};

export const REASONS = {
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

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

export const count = (n) => (n < 1e6 ? whole : short).format(n);
export const faces = (n) => (n === 1 ? "1 face" : `${count(n)} faces`);
export const clock = (wallMs) => new Date(wallMs).toLocaleTimeString([], { hour12: false });
export const why = (change) => change.detail || REASONS[change.reason] || change.reason;

// A rate or a time in few letters; a dash where nothing is known.
export const rate = (n) => (n === null || n === undefined ? "–" : n.toFixed(n < 99.95 ? 1 : 0));
export const ms = (seconds) =>
  seconds === null || seconds === undefined ? "–" : `${Math.round(seconds * 1000)} ms`;

export function span(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const s = Math.floor(milliseconds / 1000);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

// What is given up because there is more to do than can be done; nothing where there is not.
export function overload({ level, input_scale, paused }) {
  if (!level) return "";
  const given = [
    input_scale < 1 && "smaller pictures are looked at",
    paused.length && `${count(paused.length)} ${paused.length === 1 ? "camera is" : "cameras are"} not looked at`,
  ].filter(Boolean).join(", ");
  return `Overloaded (step ${level})${given && `: ${given}`}`;
}

// Milliseconds, whose unit narrow tiles leave out.
export function putMs(element, text) {
  if (element.textContent === text) return;
  const [number, unit] = text.endsWith(" ms") ? [text.slice(0, -3), " ms"] : [text, ""];
  const small = document.createElement("span");
  small.className = "unit";
  small.textContent = unit;
  element.replaceChildren(number, small);
}

// Touch the document only where something changes.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
