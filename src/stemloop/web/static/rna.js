// What the views need to know of an RNA; positions count from 0 here.

import { css, inkOn, viridis } from "./dom.js";

export const LOOPS = {
  stem: [0, 114, 178], hairpin: [230, 159, 0], bulge: [213, 94, 0], interior: [0, 158, 115],
  multiloop: [204, 121, 167], exterior: [187, 187, 187], pseudoknot: [240, 228, 66],
};
export const LETTERS = {
  A: [230, 159, 0], C: [86, 180, 233], G: [0, 158, 115], U: [204, 121, 167], other: [187, 187, 187],
};

export class Rna {
  constructor(answer) {
    this.answer = answer;
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

  name(k) {
    return `${this.sequence[k]}${k + 1}`;
  }

  describe(k) {
    if (!this.answer.structure) return this.name(k);
    const p = this.answer.confidence[k].toFixed(3);
    const mate = this.partner[k];
    if (mate >= 0) return `${this.name(k)} pairs with ${this.name(mate)}, p = ${p} (${this.loop[k]})`;
    let text = `${this.name(k)} unpaired, p = ${p} (${this.loop[k]})`;
    if (this.best[k] && this.best[k][1] >= 0.01) {
      text += `; likeliest partner ${this.name(this.best[k][0])}, p = ${this.best[k][1].toFixed(3)}`;
    }
    return text;
  }

  // Fill and ink of a base.
  colour(k, mode) {
    let rgb;
    if (mode === "loop") rgb = LOOPS[this.loop[k]];
    else if (mode === "letter") rgb = LETTERS[this.sequence[k]] ?? LETTERS.other;
    else if (mode === "mutations") {
      rgb = this.cost[k] === null ? LETTERS.other : viridis(this.cost[k] / this.most);
    } else rgb = viridis(this.answer.confidence[k]);
    return [css(rgb), inkOn(rgb)];
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
    if (branches.length === 1 && (branches[0][0] === i + 1 || branches[0][1] === j - 1)) name = "bulge";
    for (let k = i + 1; k < j; k++) {
      if (close.has(k)) k = close.get(k);
      else kind[k] = name;
    }
  }
  for (const [i, j] of rna.nested) kind[i] = kind[j] = "stem";
  for (const [i, j] of rna.knots) kind[i] = kind[j] = "pseudoknot";
  return kind;
}
