"use strict";
// Panels stand in the page; what belongs to one layer or one kernel is unpacked and drawn when it is asked for.
const detail = document.getElementById("detail");
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
let unpacked;
const data = () => (unpacked ??= (async () => {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
})());
const link = (kind, name) => make("a", { href: `#${kind}/${encodeURIComponent(name)}` }, name);
const listed = (items) => items.flatMap((item, i) => (i ? [", ", item] : [item]));

function table(rows) {
  return make("table", { class: "facts" }, ...rows.map(([name, value]) => make("tr", {}, make("th", { style: "text-align:left" }, name), make("td", {}, ...[value].flat()))));
}

function code(lines, label) {
  const box = make("div", { class: "code", tabindex: "0", role: "region", "aria-label": label });
  for (const { html, text, number, line, kind } of lines) {
    const row = make("div", kind ? { class: kind } : {});
    if (line) row.dataset.line = line;
    if (number !== undefined) row.append(make("span", { class: "n" }, String(number)));
    if (html !== undefined) row.insertAdjacentHTML("beforeend", html); else row.append(text);
    box.append(row);
  }
  return box;
}

// A line chosen on one side marks what belongs to it on the other, and brings that into view.
function linked(left, right) {
  const choose = (line, from) => {
    for (const side of [left, right]) {
      const rows = [...side.querySelectorAll("[data-line]")];
      rows.forEach((row) => row.classList.toggle("on", row.dataset.line === line));
      const first = rows.find((row) => row.dataset.line === line);
      if (first && side !== from) side.scrollTop = first.offsetTop - side.offsetTop - side.clientHeight / 3;
    }
  };
  for (const side of [left, right]) side.addEventListener("click", (event) => {
    const row = event.target.closest("[data-line]");
    if (row) choose(row.dataset.line, side);
  });
  for (const side of [left, right]) side.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.altKey) return;
    event.preventDefault();
    const rows = [...side.querySelectorAll("[data-line]")];
    const at = rows.findIndex((row) => row.classList.contains("on"));
    const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
    if (next) { choose(next.dataset.line, null); }
  });
}

async function kernel(name) {
  const found = (await data()).kernels[name];
  if (!found) return [make("p", {}, `There is no kernel ${name}.`)];
  const source = code(found.source.map((html, i) => ({ html, number: i + 1, line: i + 1 })), "Source");
  const place = make("div");
  const buttons = Object.keys(found.levels).map((level) => make("button", { type: "button" }, level));
  const show = (level) => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === level));
    const other = code(found.levels[level].map(([text, line]) => ({ text, line })), level);
    place.replaceChildren(other);
    linked(source, other);
  };
  buttons.forEach((button) => button.addEventListener("click", () => show(button.textContent)));
  show(buttons[0].textContent);
  return [
    make("h2", {}, `Kernel ${name}`),
    table([["Layers", listed(found.layers.map((layer) => link("layer", layer)))], ...found.facts]),
    make("h3", {}, "Schedule"), make("p", {}, found.words),
    make("h3", {}, "Source and machine code"),
    make("p", { class: "tools" }, ...buttons, " A line chosen on one side marks its other side; Alt and the arrow keys go on.", found.note),
    make("div", { class: "pair" }, source, place),
  ];
}

async function layer(name) {
  const all = await data(), found = all.layers[name];
  if (!found) return [make("p", {}, `There is no layer ${name}.`)];
  const place = make("div"), select = make("select", { "aria-label": "Pass" });
  found.stages.forEach(([stage, lines], i) => {
    const changed = lines.filter(([mark]) => mark !== " ").length;
    select.append(make("option", { value: i }, i ? `${stage}: ${changed} lines changed` : `${stage}: as built`));
  });
  const show = () => {
    const [stage, lines] = found.stages[select.value];
    place.replaceChildren(code(lines.map(([mark, index]) => ({ text: `${mark} ${all.lines[index]}`, kind: { "+": "add", "-": "gone" }[mark] })), `IR after ${stage}`));
  };
  select.addEventListener("change", show);
  if (found.stages.length) show();
  return [
    make("h2", {}, `Layer ${name}`), table(found.facts),
    make("h3", {}, "Kernels"), make("p", {}, ...(found.kernels.length ? listed(found.kernels.map((each) => link("kernel", each))) : ["none of its own"])),
    make("h3", {}, "IR"), make("p", { class: "tools" }, "After pass ", select, " – lines marked + and − are those that it changed"), place,
  ];
}

async function navigate() {
  const [name, rest] = location.hash.slice(1).split(/\/(.*)/s);
  const chosen = { layer, kernel }[name];
  const panel = chosen ? detail : document.getElementById(name) ?? document.getElementById("summary");
  if (chosen) detail.replaceChildren(...(await chosen(decodeURIComponent(rest ?? ""))));
  document.querySelectorAll(".panel").forEach((each) => (each.hidden = each !== panel));
  document.querySelectorAll("nav a").forEach((each) => {
    const here = each.hash === `#${panel.id}` || (chosen && each.hash === `#${name}s`);
    if (here) each.setAttribute("aria-current", "page"); else each.removeAttribute("aria-current");
  });
  window.scrollTo(0, 0);
  document.body.dataset.shown = location.hash;
}

document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
  const drawing = document.querySelector("#network svg"), factor = Number(button.dataset.zoom);
  for (const side of ["width", "height"]) drawing.setAttribute(side, Number(drawing.getAttribute(side)) * factor);
}));
window.addEventListener("hashchange", navigate);
navigate();
