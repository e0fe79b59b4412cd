// Sequences of a family: the order, the logo, the table.

import { byId, el, svg } from "./dom.js";

const INK = { A: "#e69f00", C: "#56b4e9", G: "#009e73", U: "#cc79a7" };
const MEANING = {
  label_probability: "of the label it was made for", pairs: "share of the consensus pairs that can form",
  distance: "sites that differ from the nearest training sequence", cm_score: "bits, Infernal's covariance model",
  free_energy: "of the generator: the lower, the likelier",
};
const SHOWN = Object.keys(MEANING);

const FIELDS = ["family", "count", "steps", "seed"];

// Returns whether the address asks for sequences.
export function setUpGenerate(families, ask, fold) {
  const family = byId("family"), labels = byId("label");
  family.append(...families.map(({ name }) => el("option", { value: name }, name)));
  const fill = () => {
    const { labels: known } = families.find(({ name }) => name === family.value);
    labels.replaceChildren(el("option", { value: "" }, "all, as trained on"),
      ...(known.length > 1 ? known : []).map((name) => el("option", { value: name }, name)));
  };
  family.addEventListener("change", fill);
  fill();
  const say = (text, bad = false) => {
    byId("made-status").textContent = text;
    byId("made-status").classList.toggle("bad", bad);
  };
  let job = null;
  byId("stop").addEventListener("click", () => job && ask(`/api/jobs/${job}`, { method: "DELETE" }));
  byId("order").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = {
      family: family.value, count: Number(byId("count").value), steps: Number(byId("steps").value),
      seed: Number(byId("seed").value), unique: byId("unique").checked,
      labels: labels.value ? { [labels.value]: 1 } : {},
    };
    const told = new URLSearchParams([...FIELDS, "label"].map((name) => [name, byId(name).value]));
    if (body.unique) told.set("unique", "true");
    history.replaceState(null, "", `#${told}`);
    byId("make").disabled = true;
    byId("made").replaceChildren();
    say("Sent.");
    try {
      let state = await ask("/api/generate?wait=0.5", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      job = state.id;
      while (["waiting", "running"].includes(state.state)) {
        byId("stop").hidden = false;
        say(state.state === "waiting" ? `Waiting: ${state.ahead} before this one.` : "Generating.");
        await new Promise((resolve) => setTimeout(resolve, 300));
        state = await ask(`/api/jobs/${job}`);
      }
      if (state.results.length) {
        say(`${state.results[0].sequences.length} sequences in ${state.seconds.toFixed(1)} s.`);
        show(state.results[0], job, fold);
      } else say(state.errors[0]?.error ?? (state.message || "Cancelled."), state.state !== "cancelled");
    } catch (error) {
      if (error.name === "Error" && !error.refused) throw error;
      say(error.message, true);
    } finally {
      byId("make").disabled = false;
      byId("stop").hidden = true;
    }
  });
  const query = new URLSearchParams(location.hash.slice(1));
  if (!families.some(({ name }) => name === query.get("family"))) return false;
  for (const name of FIELDS) if (query.get(name)) byId(name).value = query.get(name);
  fill();
  labels.value = query.get("label") ?? "";
  byId("unique").checked = query.get("unique") === "true";
  return true;
}

function show(made, job, fold) {
  const names = SHOWN.filter((name) => made.sequences.some((s) => name in s.values));
  const digits = { label_probability: 3, pairs: 2, cm_score: 1, free_energy: 1 };
  const number = (v, name) => (typeof v === "number" ? v.toFixed(digits[name] ?? 0) : String(v ?? ""));
  const rows = made.sequences.slice(0, 200).map((s) => {
    const sequence = s.aligned.replaceAll("-", "");
    return el("tr", {},
      el("td", {}, el("button", {
        type: "button", "aria-label": `Fold ${s.id}`, onclick: () => fold(s.id, sequence),
      }, "Fold")),
      el("td", {}, s.id), el("td", {}, s.values.label ?? ""),
      ...names.map((name) => el("td", { class: "n" }, number(s.values[name], name))),
      el("td", {}, el("code", {}, sequence)));
  });
  const link = (format) => el("a", { href: `/api/jobs/${job}/files/0.${format}`, download: true, "data-format": format }, format);
  byId("made").replaceChildren(
    el("h2", {}, made.family),
    el("p", { class: "soft" }, made.notes.join("; ")),
    el("h3", {}, "Logo of what was made"),
    el("div", { class: "wide" }, logo(made)),
    el("h3", {}, "Sequences"),
    el("div", { class: "wide tall" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th"), el("th", {}, "id"), el("th", {}, "label"),
        ...names.map((name) => el("th", { class: "n", title: MEANING[name] }, name.replaceAll("_", " "))), el("th", {}, "sequence"))),
      el("tbody", {}, ...rows))),
    el("h3", {}, "The same on the command line"), el("pre", { tabindex: "0" }, made.command),
    el("div", { class: "bar" }, "Downloads: ", link("fa"), link("csv"), link("json")));
}

// Height of a stack: 2 bits less the entropy of the letters, times the share that is no gap.
function logo(made) {
  const L = made.sequences[0].aligned.length, W = 14, H = 70;
  const picture = svg("svg", {
    class: "logo", viewBox: `0 0 ${L * W} ${H + 34}`, width: L * W, height: H + 34, role: "img",
    "aria-label": `Sequence logo of ${made.sequences.length} sequences, ${L} columns`,
  });
  for (let k = 0; k < L; k++) {
    const counts = { A: 0, C: 0, G: 0, U: 0 };
    let total = 0;
    for (const { aligned } of made.sequences) {
      if (aligned[k] in counts) {
        counts[aligned[k]]++;
        total++;
      }
    }
    const shares = Object.entries(counts).map(([letter, n]) => [letter, total ? n / total : 0]).sort((a, b) => a[1] - b[1]);
    const entropy = shares.reduce((sum, [, p]) => sum - (p > 0 ? p * Math.log2(p) : 0), 0);
    const stack = total ? ((2 - entropy) / 2) * (total / made.sequences.length) * H : 0;
    let y = H;
    for (const [letter, p] of shares) {
      const h = p * stack;
      if (h < 0.5) continue;
      // A capital of 10 units is about 7.3 high and 7 wide.
      picture.append(svg("text", {
        fill: INK[letter], "font-size": 10, "font-weight": "bold", "font-family": "DejaVu Sans Mono, monospace",
        transform: `translate(${k * W + 1} ${y}) scale(${(W - 2) / 6.02} ${h / 7.3})`,
      }, letter));
      y -= h;
    }
    if (made.structure) picture.append(svg("text", { class: "letter", x: k * W + W / 2, y: H + 13 }, made.structure[k]));
    if (k % 10 === 9) picture.append(svg("text", { class: "number", x: k * W + W / 2, y: H + 28 }, String(k + 1)));
  }
  return picture;
}
