// A small line chart of the last minutes. Gaps stay gaps: what was not measured is not drawn.

const WINDOW_S = 300;
const STEPS = [1, 2, 2.5, 5, 10];

// The least round number that is not below `value`.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return power * STEPS.find((step) => step * power >= value * 0.9999);
}

// `series`: [{colour, fill, values}], each value a number or null, one for each of `times`
// (milliseconds of performance.now()). `least` is the smallest height of the scale.
export function drawChart(canvas, times, series, { least, unit, now }) {
  const dpr = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * dpr)) canvas.width = Math.round(width * dpr);
  if (canvas.height !== Math.round(height * dpr)) canvas.height = Math.round(height * dpr);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.setTransform(dpr, 0, 0, dpr, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `11px ${style.fontFamily}`;
  const known = series.flatMap(({ values }) => values.filter((value) => value !== null));
  const top = roundUp(Math.max(least, ...known) * 1.08);
  const area = { left: 38, right: width - 6, top: 8, bottom: height - 18 };
  const x = (t) => area.right - ((now - t) / 1000 / WINDOW_S) * (area.right - area.left);
  const y = (value) => area.bottom - (value / top) * (area.bottom - area.top);

  pen.strokeStyle = style.getPropertyValue("--line");
  pen.fillStyle = style.getPropertyValue("--quiet");
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const part of [0, 0.5, 1]) {
    const at = Math.round(y(part * top)) + 0.5;
    pen.beginPath();
    pen.moveTo(area.left, at);
    pen.lineTo(area.right, at);
    pen.stroke();
    pen.fillText(`${+(part * top).toPrecision(3)}`, area.left - 6, at);
  }
  pen.textBaseline = "alphabetic";
  for (const minutes of [5, 4, 3, 2, 1]) {
    pen.textAlign = minutes === 5 ? "left" : "center";
    pen.fillText(`−${minutes}${minutes === 5 ? " min" : ""}`, x(now - minutes * 60e3), height - 4);
  }
  pen.textAlign = "right";
  pen.fillText("now", area.right, height - 4);

  pen.save();
  pen.beginPath();
  pen.rect(area.left, 0, area.right - area.left, height);
  pen.clip();
  for (const { colour, fill, values } of series) {
    const paint = style.getPropertyValue(colour);
    for (const run of runs(times, values)) {
      pen.beginPath();
      run.forEach(([t, value], n) => pen[n ? "lineTo" : "moveTo"](x(t), y(value)));
      if (run.length === 1) pen.lineTo(x(run[0][0]) + 1.5, y(run[0][1]));
      pen.strokeStyle = paint;
      pen.lineWidth = 1.6;
      pen.lineJoin = "round";
      pen.stroke();
      if (!fill) continue;
      pen.lineTo(x(run.at(-1)[0]), area.bottom);
      pen.lineTo(x(run[0][0]), area.bottom);
      pen.globalAlpha = 0.14;
      pen.fillStyle = paint;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
  pen.restore();
  const last = series.map(({ values }) => values.at(-1));
  canvas.setAttribute("aria-label", `${canvas.dataset.title}: now ${last
    .map((value, n) => `${series[n].name} ${value === null || value === undefined
      ? "unknown" : `${+value.toPrecision(3)}${unit}`}`).join(", ")}`);
}

// The stretches of [time, value] without a hole between them.
function runs(times, values) {
  const found = [];
  let run = [];
  values.forEach((value, n) => {
    if (value === null) run = [];
    else {
      if (!run.length || times[n] - run.at(-1)[0] > 3500) found.push((run = []));
      run.push([times[n], value]);
    }
  });
  return found;
}
