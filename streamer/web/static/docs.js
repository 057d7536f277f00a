// The list of paths, made of /openapi.json. Everything is set as text, never as markup.
"use strict";

function made(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function resolved(spec, schema) {
  while (schema && schema.$ref) {
    schema = schema.$ref.slice(2).split("/").reduce((at, key) => at[key], spec);
  }
  return schema || {};
}

function typeOf(spec, schema) {
  schema = resolved(spec, schema);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(spec, one)).join(" | ");
  if (schema.type === "array") return `[${typeOf(spec, schema.items || {})}]`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

function table(rows) {
  return made("table", "", ...rows.map((row) => made("tr", "", ...row.map((cell) => made("td", cell)))));
}

function fields(spec, schema) {
  schema = resolved(spec, schema);
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, field]) => [
    required.has(name) ? `${name} *` : name,
    typeOf(spec, field),
    resolved(spec, field).description || "",
  ]);
}

function operation(spec, path, method, what) {
  const entry = made("details", "", made("summary", "", made("b", method.toUpperCase()), made("code", path)));
  if (what.description || what.summary) entry.append(made("p", what.description || what.summary));
  const parameters = (what.parameters || []).map((one) => [
    one.required ? `${one.name} *` : one.name, typeOf(spec, one.schema), one.description || "",
  ]);
  if (parameters.length) entry.append(made("h4", "Parameters"), table(parameters));
  for (const [kind, body] of Object.entries((what.requestBody || {}).content || {})) {
    entry.append(made("h4", `Body: ${kind}`), table(fields(spec, body.schema)));
  }
  entry.append(made("h4", "Answers"), table(Object.entries(what.responses).map(
    ([code, answer]) => [code, answer.description || "", ""],
  )));
  const good = Object.entries(what.responses).find(([code]) => code.startsWith("2"));
  const json = good && ((good[1].content || {})["application/json"] || {}).schema;
  if (json) entry.append(table(fields(spec, json)));
  return entry;
}

async function show() {
  const place = document.getElementById("paths");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) {
    place.textContent = "The list cannot be read; log in first.";
    return;
  }
  const spec = await answer.json();
  place.replaceChildren();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      place.append(operation(spec, path, method, what));
    }
  }
}

show();
