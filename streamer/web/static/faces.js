// Draws what was found onto the picture it was found in. Rows are those of found_json in
// streamer/web/live.py; colours and shapes are those of streamer/vision/annotate.py.

const GOLDEN_TURN = 0.618034; // part of the colour circle between one id and the next
const DARK = "rgb(16 18 22 / 85%)";
const LEAST_FOR_A_LABEL = 22; // a narrower face has no room for words, in CSS pixels

export const colourOf = (id) => `hsl(${((id * GOLDEN_TURN) % 1) * 360} 100% 70%)`;

// `place` maps pixels of the JPEG to pixels of the canvas: {left, top, scale, height, dpr}.
// Without `points`, faces are covered: there is nothing to point at.
export function drawFaces(pen, found, place, points = true) {
  const unit = place.dpr * Math.min(2, Math.max(1, place.height / place.dpr / 420));
  const textSize = Math.round(place.dpr * Math.min(15, Math.max(10, place.height / place.dpr / 30)));
  const x = (value) => place.left + value * place.scale;
  const y = (value) => place.top + value * place.scale;
  pen.lineJoin = "round";
  pen.font = `600 ${textSize}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
  pen.textBaseline = "middle";
  // The best face is drawn last, so that it lies on top.
  for (let n = found.length - 1; n >= 0; n -= 1) {
    const [id, confidence, aged, x1, y1, x2, y2, ...marks] = found[n];
    const box = { left: x(x1), top: y(y1), width: x(x2) - x(x1), height: y(y2) - y(y1) };
    const colour = colourOf(id);
    drawBox(pen, box, colour, unit, !aged);
    if (points) drawPoints(pen, marks, x, y, colour, Math.max(1.1 * unit, box.width / 42));
    if (box.width >= LEAST_FOR_A_LABEL * place.dpr) {
      const words = aged ? `#${id}` : `#${id} ${Math.round(100 * confidence)}%`;
      drawLabel(pen, words, box, colour, textSize, unit, place);
    }
  }
}

// A thin frame with strong corners, edged in dark. One that was only predicted has corners alone.
function drawBox(pen, { left, top, width, height }, colour, unit, whole) {
  const arm = Math.max(3 * unit, Math.min(width, height) / 5);
  const corners = new Path2D();
  for (const [cx, sx] of [[left, 1], [left + width, -1]]) {
    for (const [cy, sy] of [[top, 1], [top + height, -1]]) {
      corners.moveTo(cx + sx * arm, cy);
      corners.lineTo(cx, cy);
      corners.lineTo(cx, cy + sy * arm);
    }
  }
  pen.strokeStyle = DARK;
  pen.lineWidth = 3.2 * unit;
  if (whole) pen.strokeRect(left, top, width, height);
  pen.lineWidth = 4.6 * unit;
  pen.stroke(corners);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.2 * unit;
  if (whole) pen.strokeRect(left, top, width, height);
  pen.lineWidth = 2.8 * unit;
  pen.stroke(corners);
}

function drawPoints(pen, points, x, y, colour, radius) {
  for (const [grown, fill] of [[radius + 1, DARK], [radius, colour]]) {
    pen.fillStyle = fill;
    pen.beginPath();
    for (let n = 0; n < points.length; n += 2) {
      pen.moveTo(x(points[n]) + grown, y(points[n + 1]));
      pen.arc(x(points[n]), y(points[n + 1]), grown, 0, 2 * Math.PI);
    }
    pen.fill();
  }
}

// Dark words on a plate of the face's colour: above the box, or in it where there is no room.
function drawLabel(pen, words, box, colour, size, unit, place) {
  const width = pen.measureText(words).width + 0.7 * size;
  const height = 1.35 * size;
  const right = place.left + place.width;
  const left = Math.max(place.left, Math.min(box.left - 1.4 * unit, right - width));
  const above = box.top - 1.4 * unit - height;
  const top = above >= place.top ? above : Math.max(place.top, box.top + unit);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.roundRect(left, top, width, height, 2.5 * unit);
  pen.fill();
  pen.fillStyle = "#101216";
  pen.fillText(words, left + 0.35 * size, top + height / 2 + 0.04 * size);
}
