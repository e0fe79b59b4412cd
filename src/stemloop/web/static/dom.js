// Small helpers: elements (text only ever goes in as text), colours, downloads.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const byId = (id) => document.getElementById(id);
export const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Viridis (matplotlib, CC0), as in the drawings of the command line.
const VIRIDIS = [
  [68, 1, 84], [72, 37, 118], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
];

export function viridis(p) {
  const at = Math.min(Math.max(p, 0), 1) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[k].map((low, c) => Math.round(low + (at - k) * (VIRIDIS[k + 1][c] - low)));
}

export const css = (rgb) => `rgb(${rgb.join(",")})`;
export const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 125 ? "#20242a" : "#ffffff");
export const ramp = () => `linear-gradient(90deg,${VIRIDIS.map(css).join(",")})`;

export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Into the clipboard, which pages have on this machine only, or over https.
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here: mark it and copy";
  }
  setTimeout(() => { button.textContent = before; }, 3000);
}

// A picture from the text of an SVG file, on white as in print.
export async function png(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const scale = Math.min(2, 8000 / Math.max(image.width, image.height));
    const canvas = el("canvas", {
      width: Math.ceil(image.width * scale), height: Math.ceil(image.height * scale),
    });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    save(await new Promise((resolve) => canvas.toBlob(resolve, "image/png")), name);
  } finally {
    URL.revokeObjectURL(url);
  }
}
