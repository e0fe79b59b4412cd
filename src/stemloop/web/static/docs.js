// The OpenAPI description as a page.

import { byId, el } from "./dom.js";

function typeOf(schema, all) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map((s) => typeOf(s, all)).join(" | ");
  if (schema.prefixItems) return `[${schema.prefixItems.map((s) => typeOf(s, all)).join(", ")}]`;
  if (schema.type === "array") return `list of ${typeOf(schema.items, all)}`;
  const bounds = ["minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "pattern"]
    .filter((name) => schema[name] !== undefined).map((name) => `${name} ${schema[name]}`);
  return [schema.type, ...bounds].join(", ");
}

const table = (rows) => el("div", { class: "wide" }, el("table", {}, el("tbody", {}, ...rows.map((cells) =>
  el("tr", {}, ...cells.map((cell, k) => el("td", {}, k ? cell : el("code", {}, cell))))))));

async function start() {
  const api = await (await fetch("/openapi.json")).json();
  const parts = [];
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const rows = (what.parameters ?? []).map((p) => [p.name, p.in, typeOf(p.schema), p.description ?? p.schema.description ?? ""]);
      const body = what.requestBody?.content["application/json"].schema;
      if (body) rows.push(["body", "JSON", typeOf(body), ""]);
      const answers = Object.entries(what.responses).map(([code, r]) => [code, r.description,
        typeOf(Object.values(r.content ?? {})[0]?.schema), ""]);
      parts.push(el("article", {}, el("h2", {}, `${method.toUpperCase()} ${path}`),
        el("p", {}, (what.description ?? what.summary ?? "").replaceAll("`", "")), table(rows), el("h3", {}, "Answers"), table(answers)), el("p"));
    }
  }
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const rows = Object.entries(schema.properties ?? {}).map(([key, s]) =>
      [key, typeOf(s), (schema.required ?? []).includes(key) ? "required" : "", s.description ?? ""]);
    parts.push(el("article", {}, el("h2", {}, name), el("p", {}, schema.description ?? ""), table(rows)), el("p"));
  }
  byId("api").replaceChildren(...parts);
}

start();
