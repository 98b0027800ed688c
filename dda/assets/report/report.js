// Everything that a file or a person named reaches the page as text (textContent), never as markup.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const SIDES = { source: "Source", target: "Target", oracle: "Oracle" };
const COMPARISONS = [["source", "target"], ["oracle", "target"], ["source", "oracle"]];
const byName = new Map(DATA.pairs.map((pair, index) => [pair.name, index]));
const $ = (id) => document.getElementById(id);

// --- Small parts ----------------------------------------------------------------------------------------

function make(tag, { text, className, ...properties } = {}, children = []) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// JSON has neither NaN (null here) nor infinities (strings here).
const value = (number) => (number === null || number === undefined ? NaN : Number(number));

function format(number, digits) {
  if (Number.isNaN(number)) return "–";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  if (number === 0) return "0";
  const least = 10 ** -digits;
  if (Math.abs(number) < least / 2) return (number > 0 ? "< " : "> −") + least.toFixed(digits);
  return number.toFixed(digits).replace("-", "−");
}

const picture = (pair, side) => "data:image/jpeg;base64," + DATA.pictures[pair.pictures[side]];
const has = (pair, side) => side in pair.pictures;

// --- Table of pairs -------------------------------------------------------------------------------------

const COLUMNS = [
  { label: "Pair", text: true, get: (pair) => pair.name },
  { label: "Style", text: true, get: (pair) => pair.style },
  { label: "Status", text: true, get: (pair) => pair.status },
  ...DATA.columns.map((column, index) => ({ ...column, get: (pair) => value(pair.values[index]) })),
  ...DATA.oracle_columns.map((column, index) => ({
    ...column, label: column.label + " to oracle", get: (pair) => value(pair.against_oracle[index]),
  })),
];
const collator = new Intl.Collator(undefined, { numeric: true });
const table = $("pairs-table");
const body = table.tBodies[0];
const headers = [];
let sorting = { column: 0, descending: false };
let shown = []; // indices of pairs, in the order of the rows

const unseen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) load(entry.target);
}, { root: table.parentElement, rootMargin: "300px" });

function load(image) {
  image.src = picture(DATA.pairs[image.dataset.pair], image.dataset.side);
  unseen.unobserve(image);
}

function makeRow(pair, index) {
  const open = make("button", { text: pair.name, type: "button", title: pair.name });
  const thumbnails = ["source", "target"].filter((side) => has(pair, side)).map((side) => {
    const image = make("img", { alt: "", width: 38, height: 38, "data-pair": index, "data-side": side });
    unseen.observe(image);
    return image;
  });
  const two = thumbnails.length ? [make("span", { className: "two" }, thumbnails)] : [];
  const row = make("tr", {}, [
    make("th", { scope: "row" }, [make("div", { className: "name" }, [...two, open])]),
    make("td", { text: pair.style || "–", className: "text" }),
    make("td", { text: pair.status, className: "text " + (pair.status === "ok" ? "quiet" : "rejected") }),
  ]);
  const numbers = COLUMNS.slice(3);
  if (pair.status === "ok") {
    for (const column of numbers) {
      row.append(make("td", { text: format(column.get(pair), column.digits), className: "number" }));
    }
  } else {
    row.append(make("td", { text: pair.reason, className: "text reason", colspan: Math.max(numbers.length, 1) }));
  }
  row.addEventListener("click", () => showDetail(index));
  return row;
}

const CHUNK = 100; // rows added at a time, as one scrolls: laying out thousands takes seconds
const rows = []; // by index of the pair, each made when it is first shown
const empty = make("tr", { className: "empty" }, [make("td", { text: "No pair is like this.", colspan: COLUMNS.length })]);

function makeHeaders() {
  COLUMNS.forEach((column, index) => {
    const button = make("button", { type: "button" }, [make("span", { text: column.label, className: "title" })]);
    if (column.unit) button.append(make("span", { text: column.unit, className: "unit" }));
    if (column.about) button.title = column.about;
    const header = make("th", { scope: "col", className: column.text ? "" : "number" }, [button]);
    button.addEventListener("click", () => {
      const again = sorting.column === index;
      sorting = { column: index, descending: again && !sorting.descending };
      update();
    });
    headers.push(header);
  });
  table.tHead.rows[0].append(...headers);
}

function addRows(count) {
  const next = shown.slice(body.rows.length, body.rows.length + count);
  body.append(...next.map((index) => (rows[index] ??= makeRow(DATA.pairs[index], index))));
}

const end = new IntersectionObserver(([entry]) => {
  if (!entry.isIntersecting || body.rows.length >= shown.length) return;
  addRows(CHUNK);
  end.unobserve(entry.target); // it is told again where the new rows do not reach the end of the view
  end.observe(entry.target);
}, { root: table.parentElement, rootMargin: "600px" });

// Negative where pair `a` comes before pair `b`; what has no number comes last either way.
function compare(a, b) {
  const column = COLUMNS[sorting.column];
  const [first, second] = [column.get(DATA.pairs[a]), column.get(DATA.pairs[b])];
  const sign = sorting.descending ? -1 : 1;
  if (column.text) return sign * collator.compare(first, second) || a - b;
  if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second) || a - b;
  return first === second ? a - b : sign * (first < second ? -1 : 1);
}

function update() {
  const [style, status] = [$("filter-style").value, $("filter-status").value];
  const part = $("filter-name").value.toLowerCase();
  const fits = (pair) =>
    (style === "all" || "style:" + pair.style === style) &&
    (status === "all" || pair.status === status) &&
    pair.name.toLowerCase().includes(part);
  shown = DATA.pairs.flatMap((pair, index) => (fits(pair) ? [index] : [])).sort(compare);
  body.replaceChildren(...(shown.length ? [] : [empty]));
  addRows(CHUNK);
  $("count").textContent = shown.length + " of " + DATA.pairs.length + " pairs";
  headers.forEach((header, index) => {
    if (index === sorting.column) header.setAttribute("aria-sort", sorting.descending ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  });
}

function makeFilter(id, all, options) {
  $(id).append(make("option", { text: all, value: "all" }));
  for (const [optionValue, text] of options) $(id).append(make("option", { text, value: optionValue }));
  $(id).addEventListener("change", update);
}

const unique = (items) => [...new Set(items)].sort(collator.compare);

// --- One pair -------------------------------------------------------------------------------------------

const detail = $("detail");
let current = 0;

function numbersTable(titles, columns, parts) {
  const head = make("tr", {}, [make("th", { text: titles[0], scope: "col" })]);
  for (const title of titles.slice(1)) head.append(make("th", { text: title, scope: "col", className: "number" }));
  const lines = columns.map((column, index) => {
    const name = make("th", { text: column.label, scope: "row", title: column.about });
    if (column.unit) name.append(" ", make("span", { text: column.unit, className: "unit" }));
    const cells = parts.map((part, place) =>
      make("td", { text: format(value(part[index]), column.digits), className: place ? "number quiet" : "number" }));
    return make("tr", {}, [name, ...cells]);
  });
  return make("table", { className: "numbers" }, [make("thead", {}, [head]), make("tbody", {}, lines)]);
}

function setCut() {
  const slider = $("slider");
  $("compare").style.setProperty("--cut", slider.value + "%");
  slider.setAttribute("aria-valuetext", slider.value + " % " + $("before-label").textContent);
}

function showSides(pair, [before, after]) {
  for (const [place, side] of [["before", before], ["after", after]]) {
    $("compare-" + place).src = picture(pair, side);
    $("compare-" + place).alt = SIDES[side] + " of " + pair.name;
    $(place + "-label").textContent = SIDES[side];
  }
  $("slider").setAttribute("aria-label", SIDES[before] + " on the left, " + SIDES[after] + " on the right");
  setCut();
}

function makeChoice(pair, sides, index) {
  const radio = make("input", { type: "radio", name: "sides" });
  radio.checked = index === 0;
  radio.addEventListener("change", () => showSides(pair, sides));
  return make("label", {}, [radio, sides.map((side) => SIDES[side]).join(" | ")]);
}

function showPictures(pair) {
  const choices = COMPARISONS.filter((sides) => sides.every((side) => has(pair, side)));
  $("detail-pictures").hidden = !choices.length;
  document.querySelector(".columns").classList.toggle("plain", !choices.length);
  $("sides").hidden = choices.length < 2;
  $("sides").replaceChildren($("sides").firstElementChild, ...choices.map((sides, i) => makeChoice(pair, sides, i)));
  if (choices.length) showSides(pair, choices[0]);
}

function showDetail(index) {
  const pair = DATA.pairs[index];
  current = index;
  $("detail-name").textContent = pair.name;
  const facts = [pair.style, pair.status === "ok" ? "" : pair.status + ": " + pair.reason];
  if (pair.status === "ok" && !has(pair, "source")) facts.push("no pictures in this report, to keep it small");
  $("detail-facts").textContent = facts.filter(Boolean).join(" · ");
  $("slider").value = 50;
  showPictures(pair);
  const tables = [];
  if (pair.status === "ok") {
    tables.push(numbersTable(["Metric", "This pair", "Baseline", "Mean"], DATA.columns,
      [pair.values, pair.baseline, DATA.columns.map((column) => column.mean)]));
  }
  if (pair.against_oracle.length) {
    tables.push(numbersTable(["Against the oracle", "This pair", "Untouched", "Mean"], DATA.oracle_columns,
      [pair.against_oracle, pair.untouched_against_oracle, DATA.oracle_columns.map((column) => column.mean)]));
  }
  $("detail-numbers").replaceChildren(...tables);
  $("detail-numbers").hidden = !tables.length;
  $("detail-paths").replaceChildren(...Object.entries(pair.paths).map(([side, path]) =>
    make("div", {}, [make("dt", { text: SIDES[side] }), make("dd", {}, [make("code", { text: path })])])));
  const place = shown.indexOf(index);
  $("previous").disabled = place <= 0;
  $("next").disabled = place < 0 || place === shown.length - 1;
  if (!detail.open) detail.showModal();
}

function connectDetail() {
  $("slider").addEventListener("input", setCut);
  $("previous").addEventListener("click", () => showDetail(shown[shown.indexOf(current) - 1]));
  $("next").addEventListener("click", () => showDetail(shown[shown.indexOf(current) + 1]));
  $("close").addEventListener("click", () => detail.close());
  detail.addEventListener("click", (event) => {
    if (event.target === detail) detail.close(); // the backdrop
  });
}

// --- Best and worst -------------------------------------------------------------------------------------

function makeCard(name, column) {
  const index = byName.get(name);
  const pair = DATA.pairs[index];
  const images = ["source", "target"].filter((side) => has(pair, side)).map((side) =>
    make("img", { alt: SIDES[side], src: picture(pair, side) }));
  const number = format(column.get(pair), column.digits) + (column.unit ? " " + column.unit : "");
  const card = make("button", { type: "button", className: "card", title: name }, [
    make("span", { className: "two" }, images),
    make("span", { className: "caption" }, [make("span", { text: name }), make("span", { text: number })]),
  ]);
  card.addEventListener("click", () => showDetail(index));
  return card;
}

function showExtremes() {
  const column = COLUMNS.find((candidate) => candidate.key === $("extremes-metric").value);
  const groups = Object.entries(DATA.best_worst[column.key]).map(([end, names]) =>
    make("div", {}, [
      make("h3", { text: end[0].toUpperCase() + end.slice(1) + " · " + column.label }),
      make("div", { className: "cards" }, names.map((name) => makeCard(name, column))),
    ]));
  $("extremes-groups").replaceChildren(...groups);
}

function connectExtremes() {
  const columns = COLUMNS.filter((column) => DATA.best_worst[column.key]);
  if (!columns.length) return;
  for (const column of columns) $("extremes-metric").append(make("option", { text: column.label, value: column.key }));
  $("extremes-metric").addEventListener("change", showExtremes);
  $("extremes").hidden = $("to-extremes").hidden = false;
  showExtremes();
}

// --- The page -------------------------------------------------------------------------------------------

makeHeaders();
makeFilter("filter-style", "All styles",
  unique(DATA.pairs.map((pair) => pair.style)).map((style) => ["style:" + style, style || "no style named"]));
makeFilter("filter-status", "All", unique(DATA.pairs.map((pair) => pair.status)).map((status) => [status, status]));
$("filter-name").addEventListener("input", update);
update();
end.observe($("table-end"));
connectDetail();
connectExtremes();
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((element) => { element.open = true; });
  addRows(shown.length);
  body.querySelectorAll("img[data-pair]:not([src])").forEach(load);
});
