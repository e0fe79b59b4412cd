// Pair probabilities above the diagonal, the predicted structure below it.

import { el } from "./dom.js";

const MARGIN = 26;

export function matrix(rna, width, say) {
  const L = rna.length;
  const size = Math.min(Math.max(width, 240), 660);
  const sharp = window.devicePixelRatio || 1;
  const canvas = el("canvas", {
    width: Math.round(size * sharp), height: Math.round(size * sharp), tabindex: "0", role: "img",
    "aria-label": `Pair probabilities of ${rna.answer.id} above the diagonal, predicted pairs below.`,
  });
  canvas.style.width = canvas.style.height = `${size}px`;
  const cell = (size - MARGIN - 12) / L;
  const theme = getComputedStyle(document.documentElement);
  const ink = theme.getPropertyValue("--ink"), line = theme.getPropertyValue("--line");
  const soft = theme.getPropertyValue("--soft"), accent = theme.getPropertyValue("--accent");
  const hit = theme.getPropertyValue("--mark");
  const place = (k) => MARGIN + k * cell;

  function paint(marked = -1) {
    const pen = canvas.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, size, size);
    pen.strokeStyle = line;
    pen.strokeRect(MARGIN, MARGIN, cell * L, cell * L);
    const step = [10, 20, 50, 100, 200, 500, 1000].find((n) => n * cell >= 32) ?? 1000;
    pen.font = "10px sans-serif";
    pen.fillStyle = soft;
    pen.beginPath();
    for (let n = step; n <= L; n += step) {
      const at = place(n - 0.5);
      pen.moveTo(at, MARGIN); pen.lineTo(at, MARGIN + cell * L);
      pen.moveTo(MARGIN, at); pen.lineTo(MARGIN + cell * L, at);
      pen.textAlign = "center"; pen.fillText(String(n), at, MARGIN - 6);
      pen.textAlign = "right"; pen.fillText(String(n), MARGIN - 4, at + 3);
    }
    pen.globalAlpha = 0.6;
    pen.stroke();
    pen.globalAlpha = 1;
    pen.beginPath();
    pen.moveTo(MARGIN, MARGIN); pen.lineTo(MARGIN + cell * L, MARGIN + cell * L);
    pen.stroke();
    const dot = Math.max(cell, 1.5);
    // One colour, from faint to full: to be seen on either theme.
    pen.fillStyle = accent;
    for (const [a, b, p] of rna.answer.pair_probabilities) {
      pen.globalAlpha = Math.min(1, 0.08 + p);
      pen.fillRect(place(b - 1), place(a - 1), dot, dot);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    for (const [i, j] of [...rna.nested, ...rna.knots]) pen.fillRect(place(i), place(j), dot, dot);
    if (marked >= 0) {
      pen.strokeStyle = hit;
      pen.strokeRect(place(marked), MARGIN, cell, cell * L);
      pen.strokeRect(MARGIN, place(marked), cell * L, cell);
    }
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - MARGIN) / cell);
    const i = Math.floor((event.clientY - box.top - MARGIN) / cell);
    if (i < 0 || j < 0 || i >= L || j >= L) return;
    const drawn = rna.partner[i] === j ? ", predicted" : "";
    say(i === j ? rna.describe(i) : `${rna.name(Math.min(i, j))} with ${rna.name(Math.max(i, j))}: p = ${rna.p(i, j).toFixed(3)}${drawn}`);
  });
  paint();
  return { node: canvas, view: null, mark: paint, paint: () => {}, reveal: () => {} };
}
