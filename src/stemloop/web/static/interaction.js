// Two strands: numbers, and the duplex as it is drawn in papers.

import { el } from "./dom.js";

// First strand 5' to 3' above, second 3' to 5' below it; | for GC and AU, : for GU.
export function duplex(first, second, row) {
  if (!row.first_end) return "no duplex";
  const [above, below] = row.structure.split("&");
  const pairs = [], open = [];
  [...above].forEach((sign, k) => sign === "(" && open.push(k));
  [...below].forEach((sign, k) => sign === ")" && pairs.push([open.pop(), k]));
  pairs.sort((a, b) => a[0] - b[0]);
  const a = first.slice(row.first_start - 1, row.first_end), b = second.slice(row.second_start - 1, row.second_end);
  const lines = ["", "", ""];
  const add = (x, mark, y) => {
    const wide = Math.max(x.length, y.length);
    [x, mark, y].forEach((text, n) => { lines[n] += n === 1 ? text.padEnd(wide) : text.padEnd(wide, "-"); });
  };
  let i = 0, j = b.length;
  for (const [p, q] of pairs) {
    add(a.slice(i, p), "", [...b.slice(q + 1, j)].reverse().join(""));
    add(a[p], ["GU", "UG"].includes(a[p] + b[q]) ? ":" : "|", b[q]);
    i = p + 1;
    j = q;
  }
  const left = [String(row.first_start), String(row.second_end)], wide = Math.max(...left.map((s) => s.length));
  return [
    `5' ${left[0].padStart(wide)} ${lines[0]} ${row.first_end} 3'`,
    `   ${" ".repeat(wide)} ${lines[1]}`,
    `3' ${left[1].padStart(wide)} ${lines[2]} ${row.second_start} 5'`,
  ].join("\n");
}

export function bound(answer) {
  const row = answer.interaction, energy = (e) => `${e.toFixed(2)} kcal/mol`;
  const facts = [];
  if (typeof row.probability === "number") {
    facts.push(["Site, p", row.probability.toFixed(3)], ["Best window", `${row.site_start} to ${row.site_end} of strand 2`], ["Seed match", row.seed]);
  }
  if (typeof row.total_energy === "number") facts.push(["With opening both", energy(row.total_energy)], ["Opening", energy(row.opening_energy)]);
  facts.push(["Duplex", energy(row.energy)]);
  const hint = typeof row.probability === "number"
    ? "Of the network for microRNAs and their sites: a rank rather than the chance that something happens in a cell. Strand 1 is the microRNA."
    : "The first strand is longer than the network for microRNAs reads: energies only.";
  return [
    el("h3", {}, "Interaction"),
    el("p", { class: "facts", id: "bound" }, ...facts.map(([n, v]) => el("span", {}, `${n}: `, el("b", {}, v)))),
    el("pre", { id: "duplex", tabindex: "0" }, duplex(answer.sequence.slice(0, answer.cut), answer.sequence.slice(answer.cut), row)),
    el("p", { class: "hint" }, hint),
  ];
}
