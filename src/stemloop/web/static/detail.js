// All of one RNA: facts, views, class, command, downloads.

import { arcs } from "./arcs.js";
import { byId, css, el, png, ramp } from "./dom.js";
import { drawing } from "./drawing.js";
import { heatmap, range } from "./heatmap.js";
import { matrix } from "./matrix.js";
import { LETTERS, LOOPS, Rna } from "./rna.js";

const VIEWS = { drawing: "Drawing", arcs: "Arcs", matrix: "Pair probabilities", heatmap: "Substitutions" };
const FILES = ["dbn", "ct", "bpseq", "svg", "csv"];
const HINTS = { csv: "pair probabilities", json: "all of this" };
const COLOURS = { probability: "by probability", loop: "by type of loop", letter: "by letter", mutations: "by effect of substitutions" };
// What was chosen for one RNA holds for the next.
const chosen = { view: "drawing", mode: "probability" };

export function showDetail(answer, job) {
  const parts = [el("h2", {}, answer.id || "(no name)")];
  if (answer.description) parts.push(el("p", { class: "soft" }, answer.description));
  parts.push(facts(answer));
  byId("detail").replaceChildren(...parts);
  if (answer.structure || answer.mutations) views(answer, byId("detail"));
  if (answer.class) byId("detail").append(...classTable(answer.class));
  byId("detail").append(...texts(answer), ...downloads(answer, job));
}

function facts(answer) {
  const items = [["Length", `${answer.length} nt`]];
  const energy = (e) => (e === null ? "none" : `${e.toFixed(2)} kcal/mol`);
  if (answer.structure) {
    items.push(["Energy", energy(answer.energy)], ["Ensemble", energy(answer.ensemble_energy)]);
    items.push(["Expected share of bases drawn wrongly", answer.ensemble_defect.toFixed(3)]);
    if (answer.window) items.push(["Folded in windows of", `${answer.window} nt`]);
  }
  if (answer.class) {
    items.push(["Class", `${answer.class.label} (p = ${answer.class.probability.toFixed(3)})`]);
  }
  if (answer.splice !== undefined) {
    items.push(["Splice site in the middle", answer.splice
      ? `${answer.splice.site} (p = ${answer.splice[`p_${answer.splice.site}`].toFixed(3)})` : "another length than the model's"]);
  }
  if (answer.ribosome_load !== undefined) {
    items.push(["Ribosome load", answer.ribosome_load === null ? "for leaders of 25 to 100 nt only" : answer.ribosome_load.toFixed(2)]);
  }
  return el("p", { class: "facts" }, ...items.map(([n, v]) => el("span", {}, `${n}: `, el("b", {}, v))));
}

function views(answer, parent) {
  const rna = new Rna(answer);
  const offered = Object.keys(VIEWS).filter((v) => (v === "heatmap" ? answer.mutations : answer.structure));
  if (!offered.includes(chosen.view)) chosen.view = offered[0];
  if (!answer.mutations && chosen.mode === "mutations") chosen.mode = "probability";
  const info = el("p", { class: "info", id: "info" });
  const frame = el("div", { class: "view", id: "view" });
  const legend = el("div", { class: "legend" });
  let current = null, base = -1;

  const say = (text) => { info.textContent = text; };
  const onBase = (k, reveal = false) => {
    base = k;
    say(rna.describe(k));
    current.mark(k);
    if (reveal) current.reveal(k);
  };
  const show = () => {
    const make = {
      drawing: () => drawing(rna, chosen.mode, onBase),
      arcs: () => arcs(rna, onBase),
      matrix: () => matrix(rna, frame.clientWidth, say),
      heatmap: () => heatmap(rna, frame.clientWidth, onBase, say),
    };
    current = make[chosen.view]();
    frame.replaceChildren(current.node);
    current.node.addEventListener("keydown", keys);
    if (base >= 0) current.mark(base);
    legend.replaceChildren(...legendOf(chosen.view, chosen.mode, rna));
    colour.disabled = chosen.view !== "drawing";
    for (const button of zooms) button.disabled = !current.view;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", tab.dataset.view === chosen.view);
  };
  const keys = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10 }[event.key];
    if (step) onBase(Math.min(Math.max(base < 0 ? 0 : base + step, 0), rna.length - 1), true);
    else if (event.key === "Home") onBase(0, true);
    else if (event.key === "End") onBase(rna.length - 1, true);
    else if ("+=".includes(event.key)) current.view?.zoom(0.8);
    else if (event.key === "-") current.view?.zoom(1.25);
    else if (event.key === "0") current.view?.fit();
    else return;
    event.preventDefault();
  };
  const tabs = el("span", { role: "tablist", "aria-label": "View" }, ...offered.map((view) =>
    el("button", {
      type: "button", role: "tab", "data-view": view, "aria-controls": "view",
      onclick: () => { chosen.view = view; show(); },
    }, VIEWS[view])));
  const colour = el("select", {
    id: "colour", "aria-label": "Colour of the bases",
    onchange: () => {
      chosen.mode = colour.value;
      current.paint(colour.value);
      legend.replaceChildren(...legendOf(chosen.view, chosen.mode, rna));
    },
  }, ...Object.entries(COLOURS).filter(([value]) => value !== "mutations" || answer.mutations).map(
    ([value, name]) => el("option", { value, selected: value === chosen.mode }, name)));
  const zoom = (label, name, act) => el("button", { type: "button", "aria-label": name, title: name, onclick: act }, label);
  const zooms = [
    zoom("+", "Zoom in", () => current.view?.zoom(0.8)),
    zoom("\u2212", "Zoom out", () => current.view?.zoom(1.25)),
    zoom("Fit", "Show all", () => current.view?.fit()),
  ];
  parent.append(el("div", { class: "bar" }, tabs, colour, ...zooms), frame, info, legend);
  say("Point at a base, or walk along with the arrow keys. Drag to move, wheel to zoom.");
  show();
}

function legendOf(view, mode, rna) {
  const chip = (name, rgb) => {
    const dot = el("i");
    dot.style.background = css(rgb);
    return el("span", {}, dot, name);
  };
  if (view === "heatmap") {
    const most = range(rna.answer.mutations);
    return [chip(`less likely than what is there, ln p ratio -${most.toFixed(1)}`, [33, 102, 172]),
      chip(`likelier, +${most.toFixed(1)}`, [178, 24, 43]), el("span", {}, "dot: what is there")];
  }
  if (view === "drawing" && mode === "mutations") {
    const bar = el("span", { class: "ramp" });
    bar.style.background = ramp();
    return [el("span", {}, "substitutions as likely as what is there"), bar, el("span", {}, `mean ln p ratio -${rna.most.toFixed(1)}`)];
  }
  if (view !== "drawing" || mode === "probability") {
    const bar = el("span", { class: "ramp" });
    bar.style.background = view === "matrix" ? "linear-gradient(90deg, transparent, var(--accent))" : ramp();
    const what = { drawing: "of the state drawn", arcs: "of the pair; below: other pairs of 0.05 or more",
      matrix: "of the pair; below the diagonal: predicted" }[view];
    return [el("span", {}, "p = 0"), bar, el("span", {}, `1, ${what}`)];
  }
  if (mode === "letter") return Object.entries(LETTERS).map(([name, rgb]) => chip(name, rgb));
  const there = new Set(rna.loop);
  return Object.entries(LOOPS).filter(([name]) => there.has(name)).map(([name, rgb]) => chip(name, rgb));
}

function classTable(found) {
  const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
  const body = rows.map(([name, p]) => {
    const bar = el("div");
    bar.style.width = `${Math.round(p * 100)}%`;
    return el("tr", {}, el("td", {}, name), el("td", {}, p.toFixed(3)), el("td", { class: "meter" }, bar));
  });
  return [
    el("h3", {}, "Class of non-coding RNA"),
    el("div", { class: "wide" }, el("table", {}, el("tbody", {}, ...body))),
    el("p", { class: "hint" }, "The likeliest of the classes that the model knows; an RNA of none of them gets one all the same."),
  ];
}

function texts(answer) {
  const parts = [];
  if (answer.structure) {
    parts.push(el("h3", {}, "Structure"), el("pre", { id: "brackets", tabindex: "0" }, `${answer.sequence}\n${answer.structure}`));
  }
  parts.push(el("h3", {}, "The same on the command line"), el("pre", { id: "command", tabindex: "0" }, answer.command));
  const copy = async (text, button) => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  };
  parts.push(el("div", { class: "bar" },
    el("button", { type: "button", onclick: (e) => copy(answer.command, e.target) }, "Copy command"),
    el("button", { type: "button", onclick: (e) => copy(linkTo(answer), e.target) }, "Copy link to this page with this RNA")));
  return parts;
}

function linkTo(answer) {
  const query = new URLSearchParams(location.hash.slice(1));
  query.set("fasta", `>${answer.id}\n${answer.sequence}`);
  return `${location.origin}/#${query}`;
}

function downloads(answer, job) {
  const base = `/api/jobs/${job}/files/${answer.index}`;
  const formats = [...(answer.structure ? FILES : []), "json", ...(answer.mutations ? ["mutations.csv"] : [])];
  const links = formats.map((format) => el("a", {
    href: `${base}.${format}`, download: true, title: HINTS[format] ?? `${format} file`, "data-format": format,
  }, format));
  if (answer.structure) {
    const picture = async () => {
      const text = await (await fetch(`${base}.svg`)).text();
      await png(text, `${answer.id.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 80) || "rna"}.png`);
    };
    links.push(el("button", { type: "button", id: "png", onclick: picture }, "png"));
  }
  return [el("h3", {}, "Downloads"), el("div", { class: "bar", id: "downloads" }, ...links)];
}

