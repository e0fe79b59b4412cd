// What the views need to know of an RNA; positions count from 0 here.

import { viridis } from "./dom.js";

export const LOOPS = {
  stem: [0, 114, 178], hairpin: [230, 159, 0], bulge: [213, 94, 0], interior: [0, 158, 115],
  multiloop: [204, 121, 167], exterior: [187, 187, 187], pseudoknot: [240, 228, 66],
};
export const LETTERS = {
  A: [230, 159, 0], C: [86, 180, 233], G: [0, 158, 115], U: [204, 121, 167], other: [187, 187, 187],
};

// Names of classes as people write them.
export const readable = (name) => name.replace("5_8S", "5.8S").replaceAll("_", " ");

// SHAPE as it is drawn everywhere: low, middle, high.
const REACTIVITY = [["below 0.4", [32, 36, 42]], ["0.4 to 0.85", [240, 160, 0]], ["0.85 or more", [200, 30, 30]]];
const UNKNOWN = ["not known", [187, 187, 187]];

export class Rna {
  constructor(answer, job) {
    this.answer = answer;
    this.job = job;
    this.cut = answer.cut ?? 0;
    this.files = new Map();
    this.sequence = answer.sequence;
    this.length = answer.length;
    this.partner = new Int32Array(this.length).fill(-1);
    // The layout is that of the round brackets; other pairs cross them.
    this.nested = [];
    this.knots = [];
    for (const [a, b] of answer.pairs ?? []) {
      const i = a - 1, j = b - 1;
      this.partner[i] = j;
      this.partner[j] = i;
      (answer.structure[i] === "(" ? this.nested : this.knots).push([i, j]);
    }
    this.probability = new Map();
    this.best = new Array(this.length).fill(null);
    for (const [a, b, p] of answer.pair_probabilities ?? []) {
      const i = a - 1, j = b - 1;
      this.probability.set(i * this.length + j, p);
      for (const [k, other] of [[i, j], [j, i]]) {
        if (!this.best[k] || p > this.best[k][1]) this.best[k] = [other, p];
      }
    }
    this.loop = loops(this);
    // What substitutions cost on average, the more the less they are tolerated.
    this.cost = answer.mutations?.map((row) => (row ? -row.reduce((a, b) => a + b) / 3 : null));
    this.most = Math.max(0.01, ...(this.cost ?? []).filter((c) => c !== null));
  }

  p(i, j) {
    return this.probability.get(Math.min(i, j) * this.length + Math.max(i, j)) ?? 0;
  }

  // Text of one of its files, fetched once.
  file(format) {
    if (!this.files.has(format)) {
      this.files.set(format, fetch(`/api/jobs/${this.job}/files/${this.answer.index}.${format}`).then((found) => {
        if (found.ok) return found.text();
        throw new Error("The server has forgotten this result: fold again.");
      }));
    }
    return this.files.get(format);
  }

  name(k) {
    if (!this.cut) return `${this.sequence[k]}${k + 1}`;
    return k < this.cut ? `${this.sequence[k]}${k + 1} of strand 1` : `${this.sequence[k]}${k + 1 - this.cut} of strand 2`;
  }

  // Text with a character a nucleotide, cut between two strands.
  strands(text) {
    return this.cut ? `${text.slice(0, this.cut)}&${text.slice(this.cut)}` : text;
  }

  describe(k) {
    if (!this.answer.structure) return this.name(k);
    const p = this.answer.confidence[k].toFixed(3);
    const mate = this.partner[k];
    const probed = this.answer.reactivities?.[k];
    const note = typeof probed === "number" ? `; reactivity ${probed.toFixed(2)}` : "";
    if (mate >= 0) return `${this.name(k)} pairs with ${this.name(mate)}, p = ${p} (${this.loop[k]})${note}`;
    let text = `${this.name(k)} unpaired, p = ${p} (${this.loop[k]})`;
    if (this.best[k] && this.best[k][1] >= 0.01) {
      text += `; likeliest partner ${this.name(this.best[k][0])}, p = ${this.best[k][1].toFixed(3)}`;
    }
    return text + note;
  }

  // Red, green and blue of a base.
  colour(k, mode) {
    if (mode === "loop") return LOOPS[this.loop[k]];
    if (mode === "letter") return LETTERS[this.sequence[k]] ?? LETTERS.other;
    if (mode === "mutations") return this.cost[k] === null ? UNKNOWN[1] : viridis(this.cost[k] / this.most);
    if (mode === "reactivity") {
      const value = this.answer.reactivities[k];
      return (value === null ? UNKNOWN : REACTIVITY[(value >= 0.4) + (value >= 0.85)])[1];
    }
    return viridis(this.answer.confidence[k]);
  }

  // What the colours of a mode mean: names with their colours.
  key(mode) {
    if (mode === "letter") return Object.entries(LETTERS).filter(([name]) => name !== "other" || /[^ACGU]/.test(this.sequence));
    if (mode === "reactivity") return [...REACTIVITY, UNKNOWN];
    if (mode === "mutations") {
      return [0, 0.5, 1].map((t) => [`mean ln p ratio ${t ? (-t * this.most).toFixed(1) : "0"}`, viridis(t)]);
    }
    const there = new Set(this.loop);
    return Object.entries(LOOPS).filter(([name]) => there.has(name));
  }
}

// Kind of loop that each base lies in.
function loops(rna) {
  const kind = new Array(rna.length).fill("exterior");
  const close = new Map(rna.nested);
  const inside = (i, j) => {
    const branches = [];
    for (let k = i + 1; k < j; k++) {
      if (close.has(k)) {
        branches.push([k, close.get(k)]);
        k = close.get(k);
      }
    }
    return branches;
  };
  for (const [i, j] of rna.nested) {
    kind[i] = kind[j] = "stem";
    const branches = inside(i, j);
    let name = ["hairpin", "interior", "multiloop"][Math.min(branches.length, 2)];
    // The loop in which two strands end is none.
    if (i < rna.cut && rna.cut <= j && !branches.some(([a, b]) => a < rna.cut && rna.cut <= b)) name = "exterior";
    else if (branches.length === 1 && (branches[0][0] === i + 1 || branches[0][1] === j - 1)) name = "bulge";
    for (let k = i + 1; k < j; k++) {
      if (close.has(k)) k = close.get(k);
      else kind[k] = name;
    }
  }
  for (const [i, j] of rna.nested) kind[i] = kind[j] = "stem";
  for (const [i, j] of rna.knots) kind[i] = kind[j] = "pseudoknot";
  return kind;
}
