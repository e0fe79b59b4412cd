// The form, the job that runs, and the list of its RNAs.

import { byId, el } from "./dom.js";
import { showDetail } from "./detail.js";
import { setUpGenerate } from "./generate.js";
import { readable } from "./rna.js";

const OPTIONS = ["model", "decoder", "gamma", "threshold", "temperature", "max_span"];
const PROBING = ["reagent", "shape_method"];
const NAMES = {
  structure: "Structure", class: "Class of ncRNA", type: "Type", mutations: "Substitutions", splice: "Splice site",
  ribosome_load: "Ribosome load", interaction: "Interaction",
};
const HINTS = {
  structure: "Base pairs and their probabilities", class: "Which of 13 classes of non-coding RNA",
  type: "Which of 28 types of RNAcentral the language model expects",
  mutations: "What a language model makes of every substitution", splice: "Of RNAs as long as the model's windows",
  ribosome_load: "Of leaders of 25 to 100 nt", interaction: "Of two strands with & between them",
};
const TWO = ">let-7a and a site with a full seed match\nUGAGGUAGUAGGUUGUAUAGUU&AAGCCUUAACUACCUCAAUUAAC\n";
let info = null, job = null, answers = [], chosen = null, stopping = false;

class Refused extends Error {
  refused = true;
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("The server does not answer.");
  }
  const body = await answer.json();
  if (answer.ok) return body;
  const who = body.record ? `RNA ${body.record}: ` : "";
  const problem = new Refused(body.error.includes(`'${body.record}'`) ? body.error : who + body.error);
  problem.status = answer.status;
  throw problem;
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

function wanted() {
  const request = { compute: info.compute.filter((name) => byId(name).checked) };
  for (const name of OPTIONS) {
    const field = byId(name);
    if (field.value !== "") request[name] = field.type === "number" ? Number(field.value) : field.value;
  }
  if (byId("constraints").checked) request.constraints = true;
  return request;
}

async function run(event) {
  event?.preventDefault();
  const fasta = byId("fasta").value;
  if (!fasta.trim()) {
    say("Paste sequences first, or take the example.", true);
    byId("fasta").focus();
    return;
  }
  const request = wanted();
  if (!request.compute.length) {
    say("Choose what to compute.", true);
    return;
  }
  const body = { fasta, ...request };
  if (byId("reactivities").value.trim()) {
    for (const name of PROBING) if (byId(name).value) request[name] = byId(name).value;
    Object.assign(body, request, { reactivities: byId("reactivities").value });
  }
  const text = JSON.stringify(body);
  if (new Blob([text]).size > info.limits.body) {
    say(`That is more than ${info.limits.body} bytes: use the command line for so much.`, true);
    return;
  }
  remember(request);
  await stop();
  reset();
  busy(true);
  stopping = false;
  try {
    const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: text };
    let state = await ask("/api/fold?wait=0.5", post);
    job = state.id;
    const mine = job;
    // Cancelled before it had a name.
    if (stopping) await stop();
    while (mine === job) {
      take(state);
      if (!["waiting", "running"].includes(state.state)) break;
      await new Promise((resolve) => setTimeout(resolve, 300));
      state = await ask(`/api/jobs/${mine}?from=${state.next}`);
    }
    if (mine === job) finish(state);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message, true);
    busy(false);
  }
}

function reset() {
  job = null;
  answers = [];
  chosen = null;
  byId("list").replaceChildren();
  byId("detail").replaceChildren();
  byId("all").replaceChildren();
  byId("results").hidden = true;
}

function busy(on) {
  byId("cancel").hidden = !on;
  byId("progress").hidden = !on;
  byId("progress").value = 0;
  if (on) say("Sent.");
}

// New results of a job.
function take(state) {
  byId("progress").max = state.total;
  byId("progress").value = state.done;
  say(state.state === "waiting" ? `Waiting: ${state.ahead} before this one.` : `${state.done} of ${state.total}, ${state.seconds.toFixed(0)} s`);
  for (const answer of state.results) {
    answers.push(answer);
    const notes = [answer.cut ? `${answer.cut} + ${answer.length - answer.cut} nt` : `${answer.length} nt`];
    if (answer.energy !== null && answer.energy !== undefined) notes.push(`${answer.energy.toFixed(1)} kcal/mol`);
    if (answer.class) notes.push(readable(answer.class.label));
    if (typeof answer.interaction?.probability === "number") notes.push(`site p ${answer.interaction.probability.toFixed(2)}`);
    const button = el("button", { type: "button", onclick: () => choose(answer) },
      answer.id || "(no name)", el("small", {}, notes.join(", ")));
    answer.button = button;
    byId("list").append(el("li", {}, button));
  }
  if (answers.length) byId("results").hidden = false;
  if (!chosen && answers.length) choose(answers[0], true);
}

function choose(answer, bring = false) {
  chosen?.button.removeAttribute("aria-current");
  chosen = answer;
  answer.button.setAttribute("aria-current", "true");
  showDetail(answer, job, bring);
}

function finish(state) {
  busy(false);
  const errors = state.errors.map((e) => (e.error.includes(`'${e.id}'`) ? e.error : `${e.id}: ${e.error}`));
  let text = `${answers.length} of ${state.total} RNAs in ${state.seconds.toFixed(1)} s.`;
  if (state.state === "cancelled") text = `Cancelled. ${text}`;
  if (state.state === "failed") text = `Failed: ${state.message}`;
  say([text, ...errors.slice(0, 5)].join(" \u00b7 "), errors.length > 0 || state.state === "failed");
  if (!answers.length) return;
  const link = (file, name) => el("a", { href: `/api/jobs/${job}/files/${file}`, download: true }, name);
  const all = [link("table.csv", "table"), link("all.json", "json")];
  if (answers.some((a) => a.structure && !a.cut)) all.unshift(link("all.ct", "ct"));
  if (answers[0].structure) all.unshift(link("all.dbn", "dbn"));
  byId("all").replaceChildren("All: ", ...all.flatMap((a, k) => (k ? [" \u00b7 ", a] : [a])));
}

async function stop() {
  stopping = true;
  if (!job || byId("cancel").hidden) return;
  try {
    await ask(`/api/jobs/${job}`, { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
}

// The options go into the address behind #, which is not sent to the server.
function remember(request) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(request)) query.set(name, String(value));
  history.replaceState(null, "", `#${query}`);
}

function recall() {
  const query = new URLSearchParams(location.hash.slice(1));
  for (const name of OPTIONS) if (query.get(name)) byId(name).value = query.get(name);
  if (query.get("compute")) {
    for (const name of info.compute) byId(name).checked = query.get("compute").split(",").includes(name);
  }
  byId("constraints").checked = query.get("constraints") === "true";
  if (query.get("reactivities")) byId("reactivities").value = query.get("reactivities");
  for (const name of PROBING) if (query.get(name)) byId(name).value = query.get(name);
  byId("more").open = ["decoder", "constraints", "reactivities"].some((name) => query.get(name));
  if (query.get("fasta")) {
    byId("fasta").value = query.get("fasta");
    run();
  }
}

async function read(file) {
  if (!file) return;
  if (file.size > info.limits.body) {
    say(`${file.name} is larger than ${info.limits.body} bytes: use the command line for so much.`, true);
    return;
  }
  byId("fasta").value = await file.text();
  say(`${file.name} is loaded.`);
}

function show(generate) {
  byId("folding").hidden = generate;
  byId("generating").hidden = !generate;
  byId("to-fold").setAttribute("aria-pressed", !generate);
  byId("to-generate").setAttribute("aria-pressed", generate);
}

async function start() {
  info = await ask("/api/info");
  byId("compute").append(...info.compute.map((name) => el("label", { title: HINTS[name] ?? name },
    el("input", { type: "checkbox", id: name, checked: ["structure", "class"].includes(name) }), ` ${NAMES[name] ?? name}`)));
  byId("model").append(...info.models.map((name) => el("option", { value: name }, name)));
  byId("decoder").append(...info.decoders.map((name) => el("option", { value: name }, name)));
  byId("form").addEventListener("submit", run);
  byId("cancel").addEventListener("click", stop);
  byId("example").addEventListener("click", () => { byId("fasta").value = info.example; byId("run").focus(); });
  byId("example-two").addEventListener("click", () => {
    byId("fasta").value = TWO;
    byId("interaction").checked = true;
    byId("run").focus();
  });
  byId("open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => read(event.target.files[0]));
  const box = byId("fasta");
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
  });
  box.addEventListener("dragover", (event) => { event.preventDefault(); box.classList.add("over"); });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    box.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    read(event.dataTransfer.files[0]);
  });
  // A page that is closed needs no results any more.
  addEventListener("pagehide", () => {
    if (job && !byId("cancel").hidden) fetch(`/api/jobs/${job}`, { method: "DELETE", keepalive: true });
  });
  if (info.families.length) {
    byId("to-fold").hidden = byId("to-generate").hidden = false;
    byId("to-fold").addEventListener("click", () => show(false));
    byId("to-generate").addEventListener("click", () => show(true));
    const asked = setUpGenerate(info.families, ask, (id, sequence) => {
      byId("fasta").value = `>${id}\n${sequence}\n`;
      show(false);
      run();
    });
    if (asked) {
      show(true);
      byId("order").requestSubmit();
    }
  }
  recall();
}

start().catch((error) => say(error.message, true));
