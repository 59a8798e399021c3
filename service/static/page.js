// What the dashboard's pages do beyond showing what the server wrote: sort, find, draw, replay, ask. Nothing is computed here.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Sorting: a header's button; numbers as numbers, and where nothing is known last.
function sortable(table) {
  $$("thead th", table).forEach((header, column) => {
    const button = $("button", header);
    if (!button) return;
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") !== "descending";
      $$("thead th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => { const cell = row.cells[column]; return cell ? cell.dataset.value ?? cell.textContent : ""; };
      const numbers = $$("tbody tr", table).every((row) => value(row) === "" || !isNaN(Number(value(row))));
      const order = (a, b) => (numbers ? Number(value(a)) - Number(value(b)) : value(a).localeCompare(value(b)));
      $$("tbody tr", table).sort((a, b) => (down ? -order(a, b) : order(a, b))).forEach((row) => row.parentNode.append(row));
    });
  });
}

function finding(form) {
  const tables = form.dataset.filters.split(" ").map((id) => document.getElementById(id));
  const narrow = () => {
    const words = $("input", form).value.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = tables.map((table) => $$("tbody tr", table).filter((row) => {
      row.hidden = !words.every((word) => row.dataset.words.toLowerCase().replaceAll("_", " ").includes(word.replaceAll("_", " ")));
      return !row.hidden;
    }).length);
    $("[role=status]", form).textContent = words.length ? `${counts[0]} importers, ${counts[1]} units` : "";
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  $("input", form).addEventListener("input", narrow);
}

// Charts: uPlot, whose legend tells the values under the cursor as text; arrow keys move the cursor.
let charts = [];
function draw(kind) {
  charts.forEach((chart) => chart.destroy());
  charts = [];
  const source = $("#series");
  if (!source || typeof uPlot === "undefined") return;
  const s = JSON.parse(source.textContent);
  const x = s.months.map((month) => Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)) - 1) / 1000);
  const tonnes = (values) => values.map((v) => (v === null ? null : v / 1000));
  const ink = colour("--ink"), rule = colour("--faint");
  const axis = (label, size) => ({ ...(label ? { label, size } : {}), stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" });
  const at = { label: "month", value: (_, v) => (v === null ? "–" : new Date(v * 1000).toISOString().slice(0, 7)) };
  const number = (_, v) => (v === null || v === undefined ? "–" : v.toLocaleString("en", { maximumFractionDigits: 1 }) + " t");
  const share = (_, v) => (v === null || v === undefined ? "–" : v.toFixed(2));
  const line = (label, stroke, more = {}) => ({ label, stroke, width: 1.6, spanGaps: false, points: { show: false }, ...more });
  const one = (id, data, series, more) => {
    const place = document.getElementById(id);
    if (!place) return;
    const options = {
      width: place.clientWidth, height: id === "tension" ? 150 : 230, series: [at, ...series], tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
      cursor: { sync: { key: "unit" }, drag: { x: true, y: false } }, ...more,
    };
    place.replaceChildren();
    const chart = new uPlot(options, [x, ...data], place);
    place.tabIndex = 0;
    place.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const now = chart.cursor.idx ?? x.length - 1, next = Math.min(Math.max(now + step, 0), x.length - 1);
      charts.forEach((each) => each.setCursor({ left: each.valToPos(x[next], "x"), top: 10 }));
    };
    charts.push(chart);
  };
  const band = colour("--band");
  one("volume", [tonnes(s.high), tonnes(s.low), tonnes(s.exporter), tonnes(s.importer), tonnes(s.moved)], [
    line("open, at most", "transparent", { value: number }), line("open, at least", "transparent", { value: number }),
    line("exporter's office", colour("--against"), { value: number }), line("importer's office", colour("--for"), { value: number, dash: [6, 3] }),
    line("both, read as one", ink, { value: number, width: 1, dash: [2, 3] }),
  ], { bands: [{ series: [1, 2], fill: band + "90" }], axes: [axis(), axis("t a month", 70)], scales: { y: { range: (_, low, high) => [0, high * 1.05] } } });
  const p = s[kind];
  one("regime", [p.high, p.low, p.p], [
    line("95 % quantile", "transparent", { value: share }), line("5 % quantile", "transparent", { value: share }), line(`p(restricted), ${kind}`, colour("--for"), { value: share, width: 2 }),
  ], { bands: [{ series: [1, 2], fill: colour("--for") + "40" }], axes: [axis(), axis("probability", 70)], scales: { y: { range: [0, 1] } } });
  const strokes = [colour("--against"), colour("--for"), colour("--total"), ink], names = Object.keys(s.covariates);
  if (names.length) {
    one("tension", names.map((name) => s.covariates[name]), names.map((name, n) => line(name, strokes[n % 4], { dash: n > 3 ? [4, 3] : [] })), { axes: [axis(), axis("as published", 70)] });
  }
}

function toggled() {
  const kind = ($("input[name=kind]:checked") || { value: "filtered" }).value;
  $$("[data-kind]").forEach((table) => (table.hidden = table.dataset.kind !== kind));
  draw(kind);
}

function unitPage() {
  $$("input[name=kind]").forEach((radio) => radio.addEventListener("change", toggled));
  toggled();
}

// Replay: the server's own page as of another instant; its answer takes the place of this one's.
function replay(form) {
  const instants = JSON.parse(form.dataset.instants), slider = $("#asof"), when = $("#when");
  let asked = 0;
  slider.addEventListener("input", async () => {
    const mine = ++asked, last = Number(slider.value) === instants.length - 1, instant = instants[slider.value];
    const told = instant.slice(0, 16).replace("T", " ") + " UTC" + (last ? " (the latest)" : "");
    slider.setAttribute("aria-valuetext", told);
    when.textContent = told;
    const address = `/units/${encodeURIComponent(form.dataset.unit)}${last ? "" : `?as_of=${encodeURIComponent(instant)}`}`;
    let text;
    try {
      const answer = await fetch(address);
      text = await answer.text();
    } catch {
      if (mine === asked) when.textContent = told + ": the service does not answer";
      return;
    }
    if (mine !== asked) return; // a later instant has been asked for since
    const other = new DOMParser().parseFromString(text, "text/html"), shown = $("#answer", other);
    const kind = ($("input[name=kind]:checked") || { value: "filtered" }).value;
    if (shown) {
      $("#answer").replaceWith(shown);
      const radio = $(`input[name=kind][value=${kind}]`);
      if (radio) radio.checked = true;
      unitPage();
    } else {
      $("#answer").textContent = ($(".notice", other) || { textContent: "No answer." }).textContent;
    }
    const asking = $("#ask");
    if (asking) asking.closest("section").hidden = !last;
    history.replaceState(null, "", address);
  });
}

function asking(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const place = $("#thought"), figure = { period: form.month.value, reporter: form.office.value, net_weight_kg: 1000 * Number(form.tonnes.value) };
    if (form.code) figure.hs_code = form.code.value;
    place.textContent = "Thinking…";
    let told;
    try {
      const answer = await fetch(`/v1/regimes/${encodeURIComponent(form.dataset.unit)}/what-if`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ releases: [figure] }),
      });
      told = await answer.json();
      if (!answer.ok) throw new Error(told.detail);
    } catch (error) {
      place.textContent = `No answer: ${error.message}`;
      return;
    }
    const table = document.createElement("table"), row = (cells, kind, into) => {
      const line = into.insertRow();
      cells.forEach((text) => { const cell = document.createElement(kind); if (kind === "th") cell.scope = "col"; cell.textContent = text; line.append(cell); });
    };
    table.createCaption().textContent = `${told.effective_draws.toFixed(0)} of ${told.draws} draws count. ${told.approximations.join("; ")}.`;
    row(["month", "p(restricted) as published", "had it been so", "90 % of draws", "targeted", "product-wide", "disrupted", "open"], "th", table.createTHead());
    const body = table.createTBody(), two = (v) => v.toFixed(2);
    told.months.forEach((m) => row([
      m.period + (m.kind === "nowcast" ? " (nowcast)" : ""), two(m.before.probability), two(m.after.probability), m.after.probability_interval.map(two).join("–"),
      two(m.after.causes.targeted), two(m.after.causes.product_wide), two(m.after.causes.disrupted), two(m.after.causes.open),
    ], "td", body));
    const wide = document.createElement("div");
    wide.className = "wide";
    wide.tabIndex = 0;
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", "What would be said");
    wide.append(table);
    place.replaceChildren(wide);
  });
}

$$("table.sortable").forEach(sortable);
$$("form[data-filters]").forEach(finding);
if ($("#replay")) replay($("#replay"));
if ($("#ask")) asking($("#ask"));
if ($("#answer")) unitPage();
let settling;
const again = () => { clearTimeout(settling); settling = setTimeout(toggled, 150); };
if ($("#answer")) {
  addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}
