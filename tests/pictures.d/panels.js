"use strict";
// Everything on the page but what is drawn over time: the head, the panels' frames, stats, bars and tables.

const COLUMN = (1400 - 32 + 8) / 24;
const LINE = 38;
const GAP = 8;

function element(parent, kind, name, text) {
  const made = document.createElement(kind);
  made.className = name || "";
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function head() {
  const header = element(document.body, "header");
  element(header, "h1", "", dashboard.title);
  dashboard.templating.list.forEach((variable) => {
    const box = element(header, "div", "box");
    element(box, "b", "", variable.label);
    box.append(variable.type === "datasource" ? "Prometheus" : "All");
  });
  const minutes = Math.round((settings.end - settings.start) / 60);
  element(header, "div", "box", `Last ${minutes} minutes`);
}

function drawStats(body, panel, series) {
  const box = element(body, "div", "stats");
  const { defaults } = panel.fieldConfig;
  const named = panel.options.textMode === "value_and_name";
  const texts = [];
  series.forEach((one) => {
    const value = one.points[one.points.length - 1][1];
    const mapped = (defaults.mappings || []).map((mapping) => mapping.options[String(value)]).find(Boolean);
    const thresholds = overridden(panel, one.name, "thresholds") || defaults.thresholds;
    const tint = mapped ? colour(mapped.color) : thresholdColour(value, thresholds);
    const stat = element(box, "div", "stat");
    if (panel.options.graphMode === "area" && one.points.length > 1) spark(stat, one, tint);
    if (named) element(stat, "div", "name", one.name);
    const text = element(stat, "div", "value", mapped ? mapped.text : formatted(value, defaults.unit, defaults.decimals));
    text.style.color = tint;
    texts.push(text);
  });
  // All as large as the longest may be.
  const room = box.getBoundingClientRect();
  const longest = d3.max(texts, (text) => text.textContent.length);
  const size = Math.min(room.height * (named ? 0.45 : 0.6), (room.width / texts.length / longest) * 1.45, 44);
  texts.forEach((text) => { text.style.fontSize = `${size}px`; });
}

/** The course of a value, faintly behind it. */
function spark(stat, one, tint) {
  const { width, height } = stat.getBoundingClientRect();
  const values = one.points.map((point) => point[1]);
  const low = d3.min(values);
  const y = d3.scale.linear().domain([low, d3.max(values) || 1]).range([height - 1, height * 0.62]);
  const x = d3.scale.linear().domain([settings.start, settings.end]).range([0, width]);
  const svg = d3.select(stat).append("svg").attr({ width, height });
  const level = (point) => y(point[1]);
  const at = (point) => x(point[0]);
  svg.append("path").attr("d", d3.svg.area().x(at).y0(height).y1(level)(one.points)).style({ fill: tint, opacity: 0.13 });
  svg.append("path").attr("d", d3.svg.line().x(at).y(level)(one.points)).style({ fill: "none", stroke: tint, opacity: 0.6 });
}

function drawBarGauge(body, panel, series) {
  const { defaults } = panel.fieldConfig;
  const box = element(body, "div", "bars");
  const values = series.map((one) => one.points[0][1]);
  const full = defaults.max !== undefined ? defaults.max : d3.max(values);
  series.forEach((one, number) => {
    const bar = element(box, "div", "bar");
    const tint = thresholdColour(values[number], defaults.thresholds);
    element(bar, "div", "name", one.name);
    const fill = element(element(bar, "div", "track"), "div", "fill");
    fill.style.width = `${(100 * values[number]) / (full || 1)}%`;
    fill.style.background = tint;
    element(bar, "div", "value", formatted(values[number], defaults.unit, defaults.decimals)).style.color = tint;
  });
}

function drawTable(body, panel, series) {
  const { options } = panel.transformations.find((it) => it.id === "organize");
  const columns = Object.keys(options.indexByName).sort((a, b) => options.indexByName[a] - options.indexByName[b]);
  const table = element(body, "table", "data");
  const names = element(table, "tr");
  columns.forEach((column) => element(names, "th", "", options.renameByName[column]));
  series.forEach((one) => {
    const line = element(table, "tr");
    columns.forEach((column) => element(line, "td", "", one.labels[column]));
  });
}

function drawLegend(body, panel, series) {
  const { calcs, displayMode, placement } = panel.options.legend;
  const { unit, decimals } = panel.fieldConfig.defaults;
  body.classList.toggle("beside", placement === "right");
  const legend = element(body, "div", `legend ${displayMode}`);
  const label = (parent, one) => {
    element(parent, "i").style.background = one.colour;
    parent.append(one.name);
  };
  if (displayMode === "list") {
    series.forEach((one) => label(element(legend, "span", "item"), one));
    return;
  }
  const table = element(legend, "table");
  const line = element(table, "tr");
  ["Name", ...calcs.map((calc) => CALCULATIONS[calc][0])].forEach((name) => element(line, "th", "", name));
  series.forEach((one) => {
    const row = element(table, "tr");
    label(element(row, "td"), one);
    const values = one.points.map((point) => point[1]);
    calcs.forEach((calc) => element(row, "td", "", formatted(CALCULATIONS[calc][1](values), unit, decimals)));
  });
}

async function drawPanel(main, panel) {
  const { x, y, w, h } = panel.gridPos;
  const section = element(main, "section", panel.type === "row" ? "row" : "panel", panel.type === "row" ? panel.title : undefined);
  Object.assign(section.style, {
    left: `${x * COLUMN}px`, top: `${y * LINE}px`, width: `${w * COLUMN - GAP}px`, height: `${h * LINE - GAP}px`,
  });
  if (panel.type === "row") return;
  element(section, "h2", "", panel.title);
  const body = element(section, "div", "body");
  const series = await seriesOf(panel);
  if (series.length === 0) {
    console.error(`no data: ${panel.title}`);
    element(body, "div", "nothing", panel.fieldConfig.defaults.noValue || "No data");
    return;
  }
  switch (panel.type) {
    case "stat": drawStats(body, panel, series); break;
    case "bargauge": drawBarGauge(body, panel, series); break;
    case "table": drawTable(body, panel, series); break;
    case "heatmap": drawHeatmap(element(body, "div", "chart"), panel, series); break;
    case "timeseries": {
      const chart = element(body, "div", "chart");
      drawLegend(body, panel, series);
      drawSeries(chart, panel, series);
      break;
    }
    default: throw new Error(`no drawing of ${panel.type}`);
  }
  const cut = [...section.querySelectorAll("h2, .legend")].find((it) => it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight);
  if (cut) console.error(`cut off: ${panel.title}: ${cut.className || "title"}`);
}

async function page() {
  head();
  const main = element(document.body, "main");
  await document.fonts.ready;
  await Promise.all(dashboard.panels.map((panel) => drawPanel(main, panel).catch((error) => console.error(`${panel.title}: ${error}`))));
  document.title = "done";
}

page();
