"use strict";
// Lines, stacked bars and heat maps over time.

/** An empty drawing that fills its box. */
function drawing(box, margin) {
  const { width, height } = box.getBoundingClientRect();
  const svg = d3.select(box).append("svg").attr("width", width).attr("height", height);
  const inside = svg.append("g").attr("transform", `translate(${margin.left},${margin.top})`);
  return { svg: inside, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
}

function timeAxis(svg, x, width, height) {
  const format = d3.time.format(settings.end - settings.start < 900 ? "%H:%M:%S" : "%H:%M");
  // Half a label beyond the edge would be cut off.
  const whole = (tick) => x(tick) >= 20 && x(tick) <= width - 22;
  x.ticks(Math.max(2, Math.floor(width / 110))).filter(whole).forEach((tick) => {
    svg.append("line").attr("class", "grid").attr({ x1: x(tick), x2: x(tick), y1: 0, y2: height });
    svg.append("text").attr({ x: x(tick), y: height + 16, "text-anchor": "middle" }).text(format(tick));
  });
}

function timeScale(width) {
  return d3.time.scale().domain([new Date(settings.start * 1000), new Date(settings.end * 1000)]).range([0, width]);
}

/** Lays what is drawn later on what was drawn before; gaps count as nothing. */
function stacked(series) {
  const heights = new Map();
  return series.map((one) => one.points.map(([time, value]) => {
    const from = heights.get(time) || 0;
    heights.set(time, from + value);
    return [time, from, from + value];
  }));
}

/** Points without gaps, one list for each stretch. */
function stretches(one) {
  const found = [];
  let last = -Infinity;
  one.points.forEach((point) => {
    if (point[0] - last > one.step * 1.5) found.push([]);
    found[found.length - 1].push(point);
    last = point[0];
  });
  return found;
}

function yScale(panel, top, bottom, height) {
  const { defaults } = panel.fieldConfig;
  if (defaults.custom.scaleDistribution && defaults.custom.scaleDistribution.type === "log") {
    return d3.scale.log().domain([bottom / 1.5, top * 1.5]).range([height, 0]);
  }
  const low = defaults.min !== undefined ? defaults.min : bottom;
  let high = Math.max(top, defaults.custom.axisSoftMax || 0);
  if (defaults.max !== undefined) high = defaults.max;
  if (high <= low) high = low + 1;
  if (defaults.max === undefined) {
    const apart = distance(high - low, Math.max(2, Math.floor(height / 32)), panel);
    high = Math.ceil(high / apart - 1e-9) * apart;
  }
  return d3.scale.linear().domain([low, high]).range([height, 0]);
}

/** How far apart ticks are, so that they are round in the unit in which they are written. */
function distance(range, count, panel) {
  const { unit, decimals } = panel.fieldConfig.defaults;
  const least = range / count;
  if (unit === "bytes") return 2 ** Math.ceil(Math.log2(least));
  if (unit === "s" && least > 10) {
    return [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400].find((step) => step >= least) || least;
  }
  const size = 10 ** Math.floor(Math.log10(least));
  const round = size * [1, 2, 5, 10].find((factor) => factor * size >= least * 0.999);
  return decimals === 0 && unit === "short" ? Math.max(1, round) : round;
}

function yTicks(y, height, panel) {
  const count = Math.max(2, Math.floor(height / 32));
  const [low, high] = y.domain();
  if (y.base) {
    const powers = d3.range(Math.ceil(Math.log10(low)), Math.floor(Math.log10(high)) + 1);
    return powers.filter((_, number) => number % Math.ceil(powers.length / count) === 0).map((power) => 10 ** power);
  }
  const apart = distance(high - low, count, panel);
  return d3.range(Math.ceil(low / apart), Math.floor(high / apart + 1e-9) + 1).map((number) => number * apart);
}

function drawSeries(box, panel, series) {
  const { defaults } = panel.fieldConfig;
  const bars = series.filter((one) => one.bars);
  const lines = series.filter((one) => !one.bars);
  const piles = stacked(bars);
  const values = [...piles.flat().map((bar) => bar[2]), ...lines.flatMap((one) => one.points.map((point) => point[1]))];
  const positive = defaults.custom.scaleDistribution ? values.filter((value) => value > 0) : values;
  const measure = yScale(panel, d3.max(values), d3.min(positive), 200);
  const longest = d3.max(yTicks(measure, 200, panel).map((tick) => formattedTick(tick, defaults.unit).length));
  const { svg, width, height } = drawing(box, { left: 10 + longest * 6.3, right: 8, top: 8, bottom: 22 });
  const y = yScale(panel, d3.max(values), d3.min(positive), height);
  const x = timeScale(width);
  const at = (time) => x(new Date(time * 1000));
  timeAxis(svg, x, width, height);
  yTicks(y, height, panel).forEach((tick) => {
    svg.append("line").attr("class", "grid").attr({ x1: 0, x2: width, y1: y(tick), y2: y(tick) });
    svg.append("text").attr({ x: -8, y: y(tick) + 4, "text-anchor": "end" }).text(formattedTick(tick, defaults.unit));
  });
  bars.forEach((one, number) => drawBars(svg, one, piles[number], at, y));
  lines.forEach((one) => drawLine(svg, panel, one, at, y));
  if (defaults.custom.thresholdsStyle) {
    const [low, high] = y.domain();
    defaults.thresholds.steps.filter((step) => step.value !== null && step.value >= low && step.value <= high)
      .forEach((step) => {
        svg.append("line").attr("class", "threshold").attr({ x1: 0, x2: width, y1: y(step.value), y2: y(step.value) })
          .style("stroke", colour(step.color));
      });
  }
}

function drawBars(svg, one, pile, at, y) {
  const wide = Math.max(1, (at(one.step) - at(0)) * 0.85);
  pile.filter(([, from, to]) => to > from).forEach(([time, from, to]) => {
    const left = Math.max(0, at(time) - wide);
    svg.append("rect").attr({ x: left, y: y(to), width: Math.max(0, at(time) - left), height: y(from) - y(to) })
      .style({ fill: one.colour, "fill-opacity": 0.8 });
  });
}

function drawLine(svg, panel, one, at, y) {
  const { defaults } = panel.fieldConfig;
  const form = defaults.custom.lineInterpolation === "stepAfter" ? "step-after" : "linear";
  const line = d3.svg.line().x((point) => at(point[0])).y((point) => y(point[1])).interpolate(form);
  const area = d3.svg.area().x((point) => at(point[0])).y0(y(y.domain()[0])).y1((point) => y(point[1])).interpolate(form);
  stretches(one).forEach((points) => {
    if (one.opacity > 0) {
      svg.append("path").attr("d", area(points)).style({ fill: one.colour, "fill-opacity": one.opacity });
    }
    svg.append("path").attr("d", line(points)).style({ fill: "none", stroke: one.colour, "stroke-width": 1.3 });
    if (points.length === 1) {
      svg.append("circle").attr({ cx: at(points[0][0]), cy: y(points[0][1]), r: 2 }).style("fill", one.colour);
    }
  });
}

/** Counts in each bucket, from counts up to each bound. */
function drawHeatmap(box, panel, series) {
  const bound = (one) => (one.labels.le === "+Inf" ? Infinity : Number(one.labels.le));
  const rows = series.slice().sort((a, b) => bound(a) - bound(b));
  const cells = rows.flatMap((row, number) => {
    const below = new Map(number > 0 ? rows[number - 1].points : []);
    return row.points.map(([time, count]) => ({ time, number, count: count - (below.get(time) || 0) }));
  }).filter((cell) => cell.count > 1e-9);
  const { svg, width, height } = drawing(box, { left: 62, right: 8, top: 4, bottom: 46 });
  const x = timeScale(width);
  const at = (time) => x(new Date(time * 1000));
  timeAxis(svg, x, width, height);
  const tall = height / rows.length;
  rows.forEach((row, number) => {
    const name = bound(row) === Infinity ? "+Inf" : formattedTick(bound(row), panel.options.yAxis.unit);
    svg.append("text").attr({ x: -8, y: height - number * tall - tall / 2 + 4, "text-anchor": "end" }).text(name);
  });
  const most = d3.max(cells, (cell) => cell.count);
  const heat = d3.scale.pow().exponent(0.5).domain([0, most / 2, most]).range(["#3d1d06", "#e0620d", "#ffe0b5"]);
  const wide = at(rows[0].step) - at(0);
  cells.filter((cell) => at(cell.time) >= wide * 0.99).forEach((cell) => {
    svg.append("rect")
      .attr({ x: at(cell.time) - wide, y: height - (cell.number + 1) * tall, width: wide - 1, height: tall - 1 })
      .style("fill", heat(cell.count));
  });
  heatLegend(svg, heat, most, width, height);
}

function heatLegend(svg, heat, most, width, height) {
  const wide = Math.min(260, width / 2);
  d3.range(wide).forEach((step) => {
    svg.append("rect").attr({ x: step, y: height + 26, width: 1.5, height: 8 }).style("fill", heat((step / wide) * most));
  });
  svg.append("text").attr({ x: -6, y: height + 34, "text-anchor": "end" }).text("0");
  svg.append("text").attr({ x: wide + 8, y: height + 34 }).text(formattedTick(Number(most.toPrecision(2)), "short"));
}
