// The structure as a drawing.

import { svg } from "./dom.js";
import { Viewport } from "./viewport.js";

const STEP = 22, RADIUS = 8.5;

export function drawing(rna, mode, onBase) {
  const xy = rna.answer.layout.map(([x, y]) => [x * STEP, y * STEP]);
  const picture = svg("svg", {
    role: "img", tabindex: "0", preserveAspectRatio: "xMidYMid meet",
    "aria-label": `Secondary structure of ${rna.answer.id}. Arrow keys walk along the bases, + and - zoom.`,
  });
  picture.append(
    svg("polyline", { class: "chain", points: xy.map((p) => p.join(",")).join(" ") }),
    ...rna.nested.map(([i, j]) => bond(rna, i, j, xy[i], xy[j])),
    ...knots(rna.knots, xy),
    ...numbers(xy),
  );
  const bases = xy.map(([x, y], k) => {
    const circle = svg("circle", { cx: x, cy: y, r: RADIUS });
    const letter = svg("text", { x, y: y + 4 }, rna.sequence[k]);
    const group = svg("g", { class: "base", "data-k": k }, circle, letter);
    picture.append(group);
    return { circle, letter };
  });
  const paint = (how) => bases.forEach(({ circle, letter }, k) => {
    const [fill, ink] = rna.colour(k, how);
    circle.setAttribute("fill", fill);
    letter.setAttribute("fill", ink);
  });
  paint(mode);
  const view = new Viewport(picture, around(xy));
  picture.addEventListener("pointermove", (event) => {
    const group = event.target.closest?.("[data-k]");
    if (group) onBase(Number(group.dataset.k));
  });
  const mark = (k) => {
    for (const node of picture.querySelectorAll(".hit")) node.classList.remove("hit");
    for (const at of [k, rna.partner[k]]) if (at >= 0) bases[at].circle.classList.add("hit");
  };
  return { node: picture, view, mark, paint, reveal: (k) => view.reveal(...xy[k]) };
}

function around(xy) {
  const xs = xy.map((p) => p[0]), ys = xy.map((p) => p[1]);
  const least = (v) => v.reduce((a, b) => Math.min(a, b)), most = (v) => v.reduce((a, b) => Math.max(a, b));
  const pad = 2 * STEP;
  const x = least(xs) - pad, y = least(ys) - pad;
  return { x, y, w: Math.max(most(xs) + pad - x, 8 * STEP), h: Math.max(most(ys) + pad - y, 8 * STEP) };
}

// Double line for GC, single for AU, a dot for GU, a ring for anything else; as in the SVG files.
function bond(rna, i, j, [x1, y1], [x2, y2]) {
  const pair = [rna.sequence[i], rna.sequence[j]].sort().join("");
  const d = Math.hypot(x2 - x1, y2 - y1) || 1;
  const nx = -(y2 - y1) / d, ny = (x2 - x1) / d;
  const line = (s) => svg("line", { class: "bond", x1: x1 + nx * s, y1: y1 + ny * s, x2: x2 + nx * s, y2: y2 + ny * s });
  if (pair === "CG") return svg("g", {}, line(-2), line(2));
  if (pair === "AU") return line(0);
  const dot = svg("circle", { class: "bond", cx: (x1 + x2) / 2, cy: (y1 + y2) / 2, r: 3, fill: pair === "GU" ? "currentColor" : "none" });
  return svg("g", {}, line(0), dot);
}

// Curves of the crossing pairs: those of one helix bend alike, round the fewest bases.
function knots(pairs, xy) {
  const helices = [];
  for (const [i, j] of [...pairs].sort((a, b) => a[0] - b[0])) {
    const [a, b] = helices.at(-1)?.at(-1) ?? [-9, -9];
    if (i - a < 4 && b - j > 0 && b - j < 4) helices.at(-1).push([i, j]);
    else helices.push([[i, j]]);
  }
  return helices.flatMap((helix) => {
    let best = null, least = Infinity;
    for (const bend of [0.1, -0.1, 0.2, -0.2, 0.35, -0.35, 0.5, -0.5, 0.8, -0.8]) {
      const curves = helix.map(([i, j]) => curve(xy[i], xy[j], bend));
      let cost = 0;
      helix.forEach(([i, j], n) => {
        const points = along(curves[n]);
        cost += Math.abs(bend) * Math.hypot(xy[j][0] - xy[i][0], xy[j][1] - xy[i][1]) / STEP / 3;
        xy.forEach(([x, y], k) => {
          if (k !== i && k !== j && points.some(([u, v]) => Math.hypot(u - x, v - y) < RADIUS + 1)) cost++;
        });
      });
      if (cost < least) [best, least] = [curves, cost];
    }
    return best.map(([a, c, b]) => svg("path", { class: "knot", d: `M${a}Q${c} ${b}` }));
  });
}

function curve([x1, y1], [x2, y2], bend) {
  return [[x1, y1], [(x1 + x2) / 2 - 2 * bend * (y2 - y1), (y1 + y2) / 2 + 2 * bend * (x2 - x1)], [x2, y2]];
}

function along([a, c, b]) {
  const n = Math.max(9, Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1]) / 8));
  return Array.from({ length: n + 1 }, (_, k) => {
    const t = k / n;
    return [0, 1].map((d) => (1 - t) ** 2 * a[d] + 2 * t * (1 - t) * c[d] + t ** 2 * b[d]);
  });
}

// 5', 3' and every tenth number, each in the direction with most room.
function numbers(xy) {
  const L = xy.length;
  const wanted = [[0, "5\u2032"], [L - 1, "3\u2032"]];
  for (let k = 9; k < L - 1; k += 10) wanted.push([k, String(k + 1)]);
  const taken = [...xy];
  return wanted.map(([k, text]) => {
    let best = null, most = -1;
    for (let turn = 0; turn < 12; turn++) {
      const x = xy[k][0] + Math.cos(turn * Math.PI / 6) * STEP * 0.95;
      const y = xy[k][1] + Math.sin(turn * Math.PI / 6) * STEP * 0.95;
      let room = Infinity;
      for (let m = 0; m < taken.length; m++) {
        if (m !== k) room = Math.min(room, (taken[m][0] - x) ** 2 + (taken[m][1] - y) ** 2);
      }
      if (room > most) [best, most] = [[x, y], room];
    }
    taken.push(best);
    return svg("text", { class: "number", x: best[0], y: best[1] + 3.5 }, text);
  });
}
