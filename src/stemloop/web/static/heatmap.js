// Effect of every substitution: a row a nucleotide, a column a position, wrapped to the width.

import { css, el } from "./dom.js";

export const LETTERS = "ACGU";
const CELL = 15, LEFT = 22, TOP = 16, GAP = 22;

// Blue: less likely than what is there; red: likelier. Middle of the scale is the page.
export function diverging(score, most, back) {
  const t = Math.min(Math.abs(score) / most, 1);
  const end = score < 0 ? [33, 102, 172] : [178, 24, 43];
  return css(back.map((c, k) => Math.round(c + t * (end[k] - c))));
}

export function range(scores) {
  let most = 1;
  for (const row of scores) for (const score of row ?? []) most = Math.max(most, Math.abs(score));
  return Math.min(most, 8);
}

export function heatmap(rna, width, onBase, say) {
  const L = rna.length, scores = rna.answer.mutations, most = range(scores);
  const columns = Math.max(10, Math.min(L, Math.floor((width - LEFT - 6) / CELL)));
  const block = TOP + LETTERS.length * CELL + GAP;
  const wide = LEFT + columns * CELL + 4, high = Math.ceil(L / columns) * block;
  const sharp = high * (window.devicePixelRatio || 1) > 16000 ? 1 : window.devicePixelRatio || 1;
  const canvas = el("canvas", {
    width: Math.round(wide * sharp), height: Math.round(high * sharp), tabindex: "0", role: "img",
    "aria-label": `Scores of all substitutions of ${rna.answer.id}. Arrow keys walk along the positions.`,
  });
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  const theme = getComputedStyle(document.documentElement);
  const soft = theme.getPropertyValue("--soft"), ink = theme.getPropertyValue("--ink"), hit = theme.getPropertyValue("--mark");
  const back = matchMedia("(prefers-color-scheme: dark)").matches ? [40, 46, 53] : [247, 247, 247];
  const place = (k) => [LEFT + (k % columns) * CELL, Math.floor(k / columns) * block + TOP];

  const text = (k, n) => {
    if (!scores[k]) return `${rna.name(k)}: not scored`;
    if (LETTERS[n] === rna.sequence[k]) return rna.describe(k);
    return `${rna.sequence[k]}${k + 1}${LETTERS[n]}: ${scores[k][n].toFixed(2)} against what is there`;
  };

  function paint(marked = -1) {
    const pen = canvas.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.fillStyle = theme.getPropertyValue("--back");
    pen.fillRect(0, 0, wide, high);
    pen.textAlign = "center";
    for (let k = 0; k < L; k++) {
      const [x, y] = place(k);
      pen.font = "10px sans-serif";
      pen.fillStyle = soft;
      if (k % 10 === 9) pen.fillText(String(k + 1), x + CELL / 2, y - 4);
      if (rna.answer.structure) pen.fillText(rna.answer.structure[k], x + CELL / 2, y + LETTERS.length * CELL + 10);
      for (let n = 0; n < LETTERS.length; n++) {
        const same = LETTERS[n] === rna.sequence[k];
        pen.font = "10px sans-serif";
        if (k % columns === 0) {
          pen.fillStyle = soft;
          pen.fillText(LETTERS[n], 10, y + n * CELL + 11);
        }
        pen.fillStyle = scores[k] ? diverging(scores[k][n], most, back) : "transparent";
        pen.fillRect(x, y + n * CELL, CELL - 1, CELL - 1);
        if (same) {
          pen.strokeStyle = soft;
          pen.lineWidth = 1;
          pen.strokeRect(x + 0.5, y + n * CELL + 0.5, CELL - 2, CELL - 2);
          pen.fillStyle = ink;
          pen.font = "bold 10px sans-serif";
          pen.fillText(LETTERS[n], x + CELL / 2 - 0.5, y + n * CELL + 11);
        }
      }
    }
    if (marked >= 0) {
      const [x, y] = place(marked);
      pen.strokeStyle = hit;
      pen.lineWidth = 2;
      pen.strokeRect(x - 1, y - 1, CELL + 1, LETTERS.length * CELL + 1);
    }
  }

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - LEFT) / CELL);
    const row = Math.floor((event.clientY - box.top) / block);
    const n = Math.floor((event.clientY - box.top - row * block - TOP) / CELL);
    const k = row * columns + column;
    if (column < 0 || column >= columns || k >= L || n < 0 || n > 3) return;
    onBase(k);
    say(text(k, n));
  };
  for (const name of ["pointermove", "pointerdown"]) canvas.addEventListener(name, point);
  paint();
  return { node: canvas, view: null, mark: paint, paint: () => {}, reveal: () => {} };
}
