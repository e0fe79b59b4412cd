// The structure as arcs over the sequence, what else is probable below it.

import { css, svg, viridis } from "./dom.js";
import { Viewport } from "./viewport.js";

const STEP = 11, LEAST = 0.05;

export function arcs(rna, onBase) {
  const L = rna.length;
  const x = (k) => (k + 0.5) * STEP;
  const arc = (i, j, up) => {
    const r = (x(j) - x(i)) / 2;
    return `M${x(i)} ${up ? -10 : 12}A${r} ${r * 0.8} 0 0 ${up ? 1 : 0} ${x(j)} ${up ? -10 : 12}`;
  };
  const picture = svg("svg", {
    role: "img", tabindex: "0",
    "aria-label": `Arcs of ${rna.answer.id}: predicted pairs above, other probable pairs below.`,
  });
  const drawn = [];
  let above = STEP * 4, below = STEP * 3;
  for (const [a, b, p] of rna.answer.pair_probabilities) {
    const i = a - 1, j = b - 1;
    if (p < LEAST || rna.partner[i] === j) continue;
    below = Math.max(below, ((j - i) / 2) * STEP * 0.8 + 20);
    picture.append(svg("path", { class: "below", d: arc(i, j, false), "stroke-opacity": p.toFixed(2) }));
  }
  for (const [i, j] of [...rna.nested, ...rna.knots]) {
    above = Math.max(above, ((j - i) / 2) * STEP * 0.8 + 16);
    // With a rim: yellow can be seen on white, and violet on black.
    const rim = svg("path", { class: "rim", d: arc(i, j, true) });
    const path = svg("path", { class: "arc", d: arc(i, j, true), stroke: css(viridis(rna.p(i, j))) });
    drawn.push([i, j, path]);
    picture.append(rim, path);
  }
  for (let k = 0; k < L; k++) {
    picture.append(svg("text", { class: "letter", x: x(k), y: 4 }, rna.sequence[k]));
    if (k % 10 === 9) picture.append(svg("text", { class: "number", x: x(k), y: 22 }, String(k + 1)));
  }
  const cursor = svg("rect", { class: "hit", fill: "none", width: STEP, height: 13, y: -7, visibility: "hidden" });
  picture.append(cursor);
  const view = new Viewport(picture, {
    x: -STEP, y: -above - 10, w: (L + 2) * STEP, h: above + below + 30,
  });
  picture.addEventListener("pointermove", (event) => {
    const at = view.at(event);
    const k = at ? Math.floor(at.x / STEP) : -1;
    if (k >= 0 && k < L) onBase(k);
  });
  const mark = (k) => {
    cursor.setAttribute("x", k * STEP);
    cursor.setAttribute("visibility", "visible");
    for (const [i, j, path] of drawn) path.classList.toggle("hit", i === k || j === k);
  };
  return { node: picture, view, mark, paint: () => {}, reveal: (k) => view.reveal(x(k), 0) };
}
