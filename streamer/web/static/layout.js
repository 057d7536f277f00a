// How many columns make the pictures largest: from one camera to sixty-four and more.

export const GAP = 10; // as in style.css
const NARROW = 430; // the words of a narrower tile do not fit into one line
const BAR = { one: 36, two: 50, over: 26 }; // lines of words under the picture, as in style.css
const LEAST = 150; // pictures below this width are no use: scroll instead
const PHONE = 600;

// The columns, the width of a tile and where its words are, for `n` pictures of `aspect` in
// `width` x `height` pixels. `scrolls` is true where they do not fit at a useful size.
export function layout(n, width, height, aspect) {
  const fill = (columns) => {
    const tile = Math.floor((width - (columns - 1) * GAP) / columns);
    return { columns, tile, scrolls: true, lines: tile < NARROW ? "two" : "one" };
  };
  if (width < PHONE) return fill(n > 6 && width >= 340 ? 2 : 1);
  let best = { score: 0, tile: 0 };
  for (let columns = 1; columns <= n; columns += 1) {
    const rows = Math.ceil(n / columns);
    const most = (width - (columns - 1) * GAP) / columns;
    const room = (height - (rows - 1) * GAP) / rows;
    // As wide as the column, or as the height allows.
    let [tile, lines] = [Math.min(most, (room - BAR.one) * aspect), "one"];
    if (tile < NARROW) [tile, lines] = [Math.min(most, (room - BAR.over) * aspect, NARROW - 1), "over"];
    // Rows that are full look better: a little size is given for them.
    const score = tile * Math.sqrt(n / (columns * rows));
    if (score > best.score) best = { score, columns, tile: Math.floor(tile), scrolls: false, lines };
  }
  return best.tile >= LEAST ? best : fill(Math.max(1, Math.floor((width + GAP) / (240 + GAP))));
}
