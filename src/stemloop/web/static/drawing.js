// The structure and its arcs as the program draws them, to move, to point at and to colour.

import { css, inkOn, svg } from "./dom.js";
import { Viewport } from "./viewport.js";

// What an SVG file of the program shows, without page, title and legend.
async function opened(rna, file, label) {
  const text = await rna.file(file);
  const page = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const drawing = document.importNode(page.querySelector(".drawing"), true);
  drawing.removeAttribute("transform");
  // The line below the picture tells more than these.
  for (const title of drawing.querySelectorAll("title")) title.remove();
  const picture = svg("svg", {
    role: "img", tabindex: "0", preserveAspectRatio: "xMidYMid meet", "aria-label": label,
    "font-family": page.getAttribute("font-family"),
  }, drawing);
  const [x, y, w, h] = drawing.dataset.box.split(" ").map(Number);
  const pad = 16, wide = Math.max(w, 340), high = Math.max(h, 260);
  const box = { x: x - (wide - w) / 2 - pad, y: y - (high - h) / 2 - pad, w: wide + 2 * pad, h: high + 2 * pad };
  return { text, picture, drawing, view: new Viewport(picture, box) };
}

const place = (node, x = "x", y = "y") => [x, y].map((name) => Number(node.getAttribute(name)));

export async function structure(rna, mode, onBase) {
  const label = `Secondary structure of ${rna.answer.id}. Arrow keys walk along the bases, + and - zoom.`;
  const { text, picture, drawing, view } = await opened(rna, "svg", label);
  const bases = [...drawing.querySelectorAll(".bases > g")].map((group, k) => {
    group.classList.add("base");
    group.dataset.k = k;
    return { circle: group.querySelector("circle"), letter: group.querySelector("text") };
  });
  const paint = (how) => bases.forEach(({ circle, letter }, k) => {
    const rgb = rna.colour(k, how);
    circle.setAttribute("fill", css(rgb));
    letter.setAttribute("fill", inkOn(rgb));
  });
  paint(mode);
  const point = (event) => {
    const group = event.target.closest?.("[data-k]");
    if (group) onBase(Number(group.dataset.k));
  };
  for (const name of ["pointermove", "pointerdown"]) picture.addEventListener(name, point);
  const mark = (k) => {
    for (const node of picture.querySelectorAll(".hit")) node.classList.remove("hit");
    for (const at of [k, rna.partner[k]]) if (at >= 0) bases[at].circle.classList.add("hit");
  };
  // The file in the colours that are shown.
  const file = (how) => (how === "probability" ? text : recoloured(text, rna, how));
  return { node: picture, view, mark, paint, file, reveal: (k) => view.reveal(...place(bases[k].circle, "cx", "cy")) };
}

function recoloured(text, rna, how) {
  const file = new DOMParser().parseFromString(text, "image/svg+xml"), page = file.documentElement;
  [...page.querySelectorAll(".bases > g")].forEach((group, k) => {
    const rgb = rna.colour(k, how);
    group.querySelector("circle").setAttribute("fill", css(rgb));
    group.querySelector("text").setAttribute("fill", inkOn(rgb));
  });
  const scale = page.querySelector(".scale");
  const [left] = place(scale.querySelector("rect"));
  // Two rows of names where the scale was.
  const chips = rna.key(how).map(([name, rgb]) => ({ name, rgb, wide: 26 + 6.2 * name.length }));
  const half = Math.ceil(chips.length / 2);
  const rows = [chips.slice(0, half), chips.slice(half)].filter((row) => row.length);
  scale.replaceChildren();
  let most = 0;
  rows.forEach((row, n) => {
    const width = row.reduce((sum, chip) => sum + chip.wide, -12);
    most = Math.max(most, width);
    let x = left + 100 - width / 2;
    for (const { name, rgb, wide } of row) {
      scale.append(
        svg("circle", { cx: x + 5, cy: 10 + 18 * n, r: 5, fill: css(rgb), stroke: "#20242a", "stroke-width": 0.7 }),
        svg("text", { x: x + 14, y: 14 + 18 * n }, name));
      x += wide;
    }
  });
  const [x, y, w, h] = page.getAttribute("viewBox").split(" ").map(Number);
  const s = Number(/scale\((\S+)\)/.exec(page.querySelector(".legend").getAttribute("transform"))[1]);
  const more = Math.max(0, (most * s + 20 - w) / 2);
  if (more) {
    page.setAttribute("viewBox", `${x - more} ${y} ${w + 2 * more} ${h}`);
    page.setAttribute("width", String((Number(page.getAttribute("width")) / w) * (w + 2 * more)));
    const back = page.querySelector("rect");
    back.setAttribute("x", String(-more));
    back.setAttribute("width", String(w + 2 * more));
  }
  return new XMLSerializer().serializeToString(file);
}

export async function arcs(rna, onBase) {
  const label = `Arcs of ${rna.answer.id}: predicted pairs above, other probable pairs below.`;
  const { text, picture, drawing, view } = await opened(rna, "arcs.svg", label);
  const x = [...drawing.querySelectorAll(".letters text")].map((letter) => place(letter)[0]);
  const drawn = [...drawing.querySelectorAll(".arc")];
  const cursor = svg("rect", { class: "hit", fill: "none", width: 11, height: 13, y: -7, visibility: "hidden" });
  drawing.append(cursor);
  const point = (event) => {
    const at = view.at(event);
    const k = at ? x.findIndex((middle) => Math.abs(at.x - middle) <= 5.5) : -1;
    if (k >= 0) onBase(k);
  };
  for (const name of ["pointermove", "pointerdown"]) picture.addEventListener(name, point);
  const mark = (k) => {
    cursor.setAttribute("x", x[k] - 5.5);
    cursor.setAttribute("visibility", "visible");
    drawn.forEach((path, n) => path.classList.toggle("hit", rna.answer.pairs[n].includes(k + 1)));
  };
  return { node: picture, view, mark, paint: () => {}, file: () => text, reveal: (k) => view.reveal(x[k], 0) };
}
