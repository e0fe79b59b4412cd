// Pair probabilities above the diagonal, the predicted structure below it; a window that zooms.

import { el } from "./dom.js";

const MARGIN = 26, FEWEST = 10;

export function matrix(rna, width, say) {
  const L = rna.length;
  const size = Math.min(Math.max(width, 240), 660), inner = size - MARGIN - 12;
  const sharp = window.devicePixelRatio || 1;
  const canvas = el("canvas", {
    width: Math.round(size * sharp), height: Math.round(size * sharp), tabindex: "0", role: "img",
    "aria-label": `Pair probabilities of ${rna.answer.id} above the diagonal, predicted pairs below. Arrow keys walk along, + and - zoom.`,
  });
  canvas.style.width = canvas.style.height = `${size}px`;
  const theme = getComputedStyle(document.documentElement);
  const [back, ink, line, soft, accent, hit] = ["back", "ink", "line", "soft", "accent", "mark"].map((name) => theme.getPropertyValue(`--${name}`));
  // What is shown: so many positions from here.
  let left = 0, top = 0, span = L, marked = -1;
  const x = (k) => MARGIN + ((k - left) * inner) / span, y = (k) => MARGIN + ((k - top) * inner) / span;

  function paint() {
    const pen = canvas.getContext("2d"), cell = inner / span;
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.fillStyle = back;
    pen.fillRect(0, 0, size, size);
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * cell >= 32) ?? 1000;
    pen.font = "10px sans-serif";
    pen.fillStyle = soft;
    const lines = (places, first, across) => {
      for (let n = Math.ceil((first + 1) / step) * step; n <= Math.min(L, first + span); n += step) {
        const at = places(n - 0.5);
        pen.moveTo(across ? at : MARGIN, across ? MARGIN : at);
        pen.lineTo(across ? at : MARGIN + inner, across ? MARGIN + inner : at);
        pen.textAlign = across ? "center" : "right";
        pen.fillText(String(n), across ? at : MARGIN - 4, across ? MARGIN - 6 : at + 3);
      }
    };
    pen.beginPath();
    lines(x, left, true);
    lines(y, top, false);
    pen.strokeStyle = line;
    pen.globalAlpha = 0.6;
    pen.stroke();
    pen.globalAlpha = 1;
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN, MARGIN, inner, inner);
    pen.stroke();
    pen.clip();
    const stroke = (colour, ...ends) => {
      pen.strokeStyle = colour;
      pen.beginPath();
      for (const [a, b, c, d] of ends) { pen.moveTo(a, b); pen.lineTo(c, d); }
      pen.stroke();
    };
    stroke(line, [x(0), y(0), x(L), y(L)]);
    // Between two strands.
    if (rna.cut) stroke(soft, [x(rna.cut), y(0), x(rna.cut), y(L)], [x(0), y(rna.cut), x(L), y(rna.cut)]);
    const dot = Math.max(cell, 1.5);
    // One colour, from faint to full: to be seen on either theme.
    pen.fillStyle = accent;
    for (const [a, b, p] of rna.answer.pair_probabilities) {
      pen.globalAlpha = Math.min(1, 0.08 + p);
      pen.fillRect(x(b - 1), y(a - 1), dot, dot);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    for (const [i, j] of [...rna.nested, ...rna.knots]) pen.fillRect(x(i), y(j), dot, dot);
    if (marked >= 0) {
      pen.strokeStyle = hit;
      pen.strokeRect(x(marked), y(0), cell, y(L) - y(0));
      pen.strokeRect(x(0), y(marked), x(L) - x(0), cell);
    }
    pen.restore();
  }

  function move(newLeft, newTop) {
    left = Math.min(Math.max(newLeft, 0), L - span);
    top = Math.min(Math.max(newTop, 0), L - span);
    paint();
  }

  // About a place, in positions; the middle without.
  function zoom(factor, [i, j] = [left + span / 2, top + span / 2]) {
    const before = span;
    span = Math.min(Math.max(span * factor, Math.min(FEWEST, L)), L);
    const f = span / before;
    move(i - (i - left) * f, j - (j - top) * f);
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [left + ((event.clientX - box.left - MARGIN) * span) / inner, top + ((event.clientY - box.top - MARGIN) * span) / inner];
  };
  let drag = null;
  const point = (event) => {
    const [a, b] = at(event), j = Math.floor(a), i = Math.floor(b);
    if (drag) move(left + drag[0] - a, top + drag[1] - b);
    if (i < 0 || j < 0 || i >= L || j >= L) return;
    const drawn = rna.partner[i] === j ? ", predicted" : "";
    say(i === j ? rna.describe(i) : `${rna.name(Math.min(i, j))} with ${rna.name(Math.max(i, j))}: p = ${rna.p(i, j).toFixed(3)}${drawn}`);
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", (event) => { drag = at(event); point(event); });
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.0015), at(event));
  }, { passive: false });
  const fit = () => { span = L; move(0, 0); };
  canvas.addEventListener("dblclick", fit);
  paint();
  const mark = (k) => { marked = k; paint(); };
  const reveal = (k) => {
    if (k < left || k > left + span || k < top || k > top + span) move(k - span / 2, k - span / 2);
  };
  return { node: canvas, view: { zoom, fit }, mark, paint: () => {}, reveal };
}
