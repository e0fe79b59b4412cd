// All of one RNA: facts, views, tables, command, downloads.

import { byId, copy, css, el, png, ramp, save } from "./dom.js";
import { arcs, structure } from "./drawing.js";
import { heatmap, range } from "./heatmap.js";
import { bound } from "./interaction.js";
import { matrix } from "./matrix.js";
import { readable, Rna } from "./rna.js";

const VIEWS = { drawing: "Drawing", arcs: "Arcs", matrix: "Pair probabilities", heatmap: "Substitutions" };
const FILES = { dbn: "dot-bracket", ct: "connect table", bpseq: "bpseq", svg: "drawing", "arcs.svg": "arcs", csv: "pair probabilities" };
const COLOURS = {
  probability: "by probability", loop: "by type of loop", letter: "by letter",
  mutations: "by effect of substitutions", reactivity: "by reactivity",
};
const HELP = {
  drawing: "Point at a base, or walk along with the arrow keys. Drag to move, wheel to zoom.",
  arcs: "Point at a base, or walk along with the arrow keys. Drag to move, wheel to zoom.",
  matrix: "Point at a cell, or walk along with the arrow keys. Drag to move, wheel to zoom.",
  heatmap: "Point at a cell, or walk along with the arrow keys.",
};
// What was chosen for one RNA holds for the next.
const chosen = { view: "drawing", mode: "probability" };

// `bring`: scroll to the picture when it is there.
export function showDetail(answer, job, bring = false) {
  const rna = new Rna(answer, job);
  const parts = [el("h2", {}, answer.id || "(no name)")];
  if (answer.description) parts.push(el("p", { class: "soft" }, answer.description));
  parts.push(facts(answer));
  byId("detail").replaceChildren(...parts);
  if (answer.structure || answer.mutations) views(rna, byId("detail"), bring);
  if (answer.interaction) byId("detail").append(...bound(answer));
  if (answer.class) {
    byId("detail").append(...probabilities("Class of non-coding RNA", answer.class,
      "The likeliest of the classes that the model knows; an RNA of none of them gets one all the same."));
  }
  if (answer.type) {
    byId("detail").append(...probabilities("Type", answer.type,
      "What the language model expects of RNAcentral's types. Where it and the class disagree, trust neither."));
  }
  byId("detail").append(...texts(rna), ...downloads(rna));
}

function facts(answer) {
  const strands = answer.cut ? `${answer.cut} + ${answer.length - answer.cut} nt` : `${answer.length} nt`;
  const items = [["Length", strands]];
  const energy = (e) => (e === null ? "none" : `${e.toFixed(2)} kcal/mol`);
  if (answer.structure) {
    items.push(["Energy", energy(answer.energy)], ["Ensemble", energy(answer.ensemble_energy)]);
    if (answer.cut) items.push(["Binding", energy(answer.binding_energy)]);
    items.push(["Expected share of bases drawn wrongly", answer.ensemble_defect.toFixed(3)]);
    if (answer.window) items.push(["Folded in windows of", `${answer.window} nt`]);
  }
  if (answer.class) {
    items.push(["Class", `${readable(answer.class.label)} (p = ${answer.class.probability.toFixed(3)})`]);
  }
  if (answer.type) items.push(["Type", `${readable(answer.type.label)} (p = ${answer.type.probability.toFixed(3)})`]);
  const one = answer.cut ? "of one strand only" : null;
  if (answer.splice !== undefined) {
    items.push(["Splice site in the middle", answer.splice
      ? `${answer.splice.site} (p = ${answer.splice[`p_${answer.splice.site}`].toFixed(3)})` : one ?? "another length than the model's"]);
  }
  if (answer.ribosome_load !== undefined) {
    items.push(["Ribosome load", answer.ribosome_load === null ? one ?? "for leaders of 25 to 100 nt only" : answer.ribosome_load.toFixed(2)]);
  }
  if (answer.interaction === null) items.push(["Interaction", "of two strands only, with & between them"]);
  return el("p", { class: "facts" }, ...items.map(([n, v]) => el("span", { title: MEANING[n] ?? null }, `${n}: `, el("b", {}, v))));
}

const MEANING = {
  Energy: "of the structure drawn, Turner 2004", Ensemble: "free energy of all structures together",
  Binding: "of the ensemble: both strands together less each alone",
  "Expected share of bases drawn wrongly": "the ensemble defect divided by the length",
};

function views(rna, parent, bring) {
  const { answer } = rna;
  const offered = Object.keys(VIEWS).filter((v) => (v === "heatmap" ? answer.mutations : answer.structure));
  const modes = Object.keys(COLOURS).filter((mode) => !["mutations", "reactivity"].includes(mode)
    || answer[{ mutations: "mutations", reactivity: "reactivities" }[mode]]);
  if (!offered.includes(chosen.view)) chosen.view = offered[0];
  if (!modes.includes(chosen.mode)) chosen.mode = "probability";
  const info = el("p", { class: "info", id: "info" });
  const frame = el("div", { class: "view", id: "view" });
  const legend = el("div", { class: "legend" });
  let current = null, base = -1, asked = 0;

  const say = (text) => { info.textContent = text; };
  const onBase = (k, reveal = false) => {
    base = k;
    say(rna.describe(k));
    current.mark(k);
    if (reveal) current.reveal(k);
  };
  const show = async () => {
    const mine = ++asked;
    for (const tab of tabs.children) {
      const here = tab.dataset.view === chosen.view;
      tab.setAttribute("aria-selected", here);
      tab.tabIndex = here ? 0 : -1;
    }
    colour.disabled = chosen.view !== "drawing";
    legend.replaceChildren(...legendOf(chosen.view, chosen.mode, rna));
    say(base < 0 ? HELP[chosen.view] : rna.describe(base));
    const make = {
      drawing: () => structure(rna, chosen.mode, onBase),
      arcs: () => arcs(rna, onBase),
      matrix: () => matrix(rna, frame.clientWidth, say),
      heatmap: () => heatmap(rna, frame.clientWidth, onBase, say),
    };
    let made;
    try {
      made = await make[chosen.view]();
    } catch (error) {
      say(error.message);
      return;
    }
    // Another view was asked for meanwhile.
    if (mine !== asked) return;
    current = made;
    frame.replaceChildren(current.node);
    current.node.addEventListener("keydown", keys);
    if (base >= 0) current.mark(base);
    for (const button of zooms) button.disabled = !current.view;
    keepSvg.hidden = !current.file;
    if (bring) frame.scrollIntoView({ block: "nearest" });
    bring = false;
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
  const choose = (view, focus = false) => {
    chosen.view = view;
    show();
    if (focus) tabs.querySelector(`[data-view=${view}]`).focus();
  };
  const tabs = el("span", {
    role: "tablist", "aria-label": "View",
    onkeydown: (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(offered[(offered.indexOf(chosen.view) + step + offered.length) % offered.length], true);
    },
  }, ...offered.map((view) => el("button", {
    type: "button", role: "tab", "data-view": view, "aria-controls": "view", onclick: () => choose(view),
  }, VIEWS[view])));
  const colour = el("select", {
    id: "colour", "aria-label": "Colour of the bases",
    onchange: () => {
      chosen.mode = colour.value;
      current?.paint(colour.value);
      legend.replaceChildren(...legendOf(chosen.view, chosen.mode, rna));
    },
  }, ...modes.map((value) => el("option", { value, selected: value === chosen.mode }, COLOURS[value])));
  const button = (label, name, act, more = {}) =>
    el("button", { type: "button", "aria-label": name, title: name, onclick: act, ...more }, label);
  const zooms = [
    button("+", "Zoom in", () => current.view?.zoom(0.8)),
    button("\u2212", "Zoom out", () => current.view?.zoom(1.25)),
    button("Fit", "Show all", () => current.view?.fit()),
  ];
  const name = () => `${answer.id.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 80) || "rna"}.${chosen.view}`;
  const keepSvg = button("SVG", "Save this view as SVG", () =>
    save(new Blob([current.file(chosen.mode)], { type: "image/svg+xml" }), `${name()}.svg`), { id: "save-svg" });
  const keepPng = button("PNG", "Save this view as PNG", () => {
    if (current.file) return png(current.file(chosen.mode), `${name()}.png`);
    return current.node.toBlob((blob) => save(blob, `${name()}.png`));
  }, { id: "save-png" });
  parent.append(
    el("div", { class: "bar" }, tabs, colour),
    el("div", { class: "stage" }, frame, el("div", { class: "tools" }, ...zooms)),
    info, el("div", { class: "bar" }, legend, el("span", { class: "end" }, el("span", { class: "soft" }, "Save this view"), keepSvg, keepPng)));
  show();
}

function legendOf(view, mode, rna) {
  const chip = (name, rgb) => {
    const dot = el("i");
    dot.style.background = css(rgb);
    return el("span", {}, dot, name);
  };
  const bar = (background) => {
    const node = el("span", { class: "ramp" });
    node.style.background = background;
    return node;
  };
  if (view === "heatmap") {
    const most = range(rna.answer.mutations).toFixed(1);
    return [el("span", {}, `less likely than what is there, ln p ratio \u2212${most}`),
      bar("linear-gradient(90deg, rgb(33,102,172), var(--back), rgb(178,24,43))"), el("span", {}, `+${most} likelier; framed: what is there`)];
  }
  if (view === "matrix") {
    return [el("span", {}, "p = 0"), bar("linear-gradient(90deg, transparent, var(--accent))"),
      el("span", {}, "1, of the pair; below the diagonal: predicted")];
  }
  if (view === "arcs" || mode === "probability") {
    const what = view === "arcs" ? "of the pair; below: other pairs of 0.05 or more" : "of the state drawn";
    return [el("span", {}, "p = 0"), bar(ramp()), el("span", {}, `1, ${what}`)];
  }
  if (mode === "mutations") {
    return [el("span", {}, "substitutions as likely as what is there"), bar(ramp()), el("span", {}, `mean ln p ratio \u2212${rna.most.toFixed(1)}`)];
  }
  return rna.key(mode).map(([name, rgb]) => chip(name, rgb));
}

function probabilities(title, found, hint) {
  const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
  const body = rows.map(([name, p]) => {
    const bar = el("div");
    bar.style.width = `${Math.round(p * 100)}%`;
    return el("tr", {}, el("td", {}, readable(name)), el("td", {}, p.toFixed(3)), el("td", { class: "meter" }, bar));
  });
  return [
    el("h3", {}, title),
    el("div", { class: "wide" }, el("table", {}, el("tbody", {}, ...body))),
    el("p", { class: "hint" }, hint),
  ];
}

function texts(rna) {
  const { answer } = rna;
  const parts = [];
  if (answer.structure) {
    parts.push(el("h3", {}, "Structure"),
      el("pre", { id: "brackets", tabindex: "0" }, `${rna.strands(answer.sequence)}\n${rna.strands(answer.structure)}`));
  }
  const address = `${location.origin}${location.pathname}${linkTo(rna)}`;
  parts.push(el("h3", {}, "The same on the command line"), el("pre", { id: "command", tabindex: "0" }, answer.command));
  parts.push(el("div", { class: "bar" },
    el("button", { type: "button", onclick: (e) => copy(answer.command, e.target) }, "Copy command"),
    el("button", { type: "button", onclick: (e) => copy(address, e.target) }, "Copy link to this page with this RNA"),
    el("a", { href: address, id: "permalink" }, "Link"),
    ...(answer.reactivities ? [] : [el("a", { href: jsonOf(rna), id: "json-link" }, "Address of the JSON")])));
  return parts;
}

// Options and RNA behind #, which is not sent to the server.
function linkTo(rna) {
  const { answer } = rna;
  const query = new URLSearchParams(location.hash.slice(1));
  query.set("fasta", [`>${answer.id}`, rna.strands(answer.sequence), ...(answer.constraint ? [answer.constraint] : [])].join("\n"));
  if (answer.reactivities) {
    query.set("reactivities", answer.reactivities.flatMap((value, k) => (value === null ? [] : [`${k + 1} ${value}`])).join("\n"));
  }
  return `#${query}`;
}

// The same from the API, as an address.
function jsonOf(rna) {
  const { answer } = rna, query = new URLSearchParams(location.hash.slice(1));
  for (const name of ["constraints", "fasta", "reactivities", "reagent", "shape_method"]) query.delete(name);
  const compute = (query.get("compute") ?? "structure").split(",");
  query.delete("compute");
  for (const name of compute) query.append("compute", name);
  query.set("id", answer.id);
  if (answer.constraint) query.set("constraint", answer.constraint);
  query.set("sequence", rna.strands(answer.sequence));
  return `/api/fold?${query}`;
}

function downloads({ answer, job }) {
  const formats = Object.entries(answer.structure ? FILES : {}).filter(([format]) => !answer.cut || !["ct", "bpseq"].includes(format));
  formats.push(["json", "all of this"], ...(answer.mutations ? [["mutations.csv", "substitutions"]] : []));
  const links = formats.map(([format, title]) => el("a", {
    href: `/api/jobs/${job}/files/${answer.index}.${format}`, download: true, title, "data-format": format,
  }, format));
  return [el("h3", {}, "Downloads"), el("div", { class: "bar", id: "downloads" }, ...links)];
}
