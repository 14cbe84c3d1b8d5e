"use strict";
// Asks Prometheus what the panels ask, and names and colours the series as the panel says.

/** `settings` is written into the page: prometheus, start, end, step and rateInterval, in seconds. */
function substituted(query, panel) {
  const range = Math.round(settings.end - settings.start) + "s";
  // A panel that wants points further apart is smoother, if not as much as over the hours that it is made for.
  const rateInterval = settings.rateInterval * (panel.interval ? 3 : 1) + "s";
  return query
    .replaceAll("$__rate_interval", rateInterval)
    .replaceAll("$__range", range)
    .replaceAll(/\$(job|instance|account)\b/g, ".+");
}

async function ask(path, parameters) {
  const answer = await fetch(`${settings.prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const json = await answer.json();
  if (json.status !== "success") throw new Error(json.error);
  return json.data.result;
}

function legendName(target, labels) {
  if (!target.legendFormat) return Object.values(labels).join(" ");
  return target.legendFormat.replaceAll(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] || "");
}

/** The value of a property that an override sets for a series of this name. */
function overridden(panel, name, id) {
  const matches = ({ id, options }) => (id === "byRegexp" ? new RegExp(options.slice(1, -1)).test(name) : options === name);
  const found = panel.fieldConfig.overrides.filter((it) => matches(it.matcher));
  return found.flatMap((it) => it.properties).filter((it) => it.id === id).map((it) => it.value).pop();
}

/** How far the points of a panel are apart. */
function stepOf(panel) {
  const wanted = (settings.end - settings.start) / (panel.maxDataPoints || 1000);
  return Math.max(settings.step, Math.ceil(wanted));
}

/** All series of a panel as `{name, labels, points: [[seconds, value]], colour}`. */
async function seriesOf(panel) {
  const step = stepOf(panel);
  const answers = await Promise.all(panel.targets.map((target) => {
    const query = substituted(target.expr, panel);
    return target.instant
      ? ask("query", { query, time: settings.end })
      : ask("query_range", { query, start: settings.start, end: settings.end, step });
  }));
  const series = answers.flatMap((results, number) => results.map((result) => {
    const points = (result.values || [result.value]).map(([time, value]) => [Number(time), Number(value)]);
    const name = legendName(panel.targets[number], result.metric);
    return { name, labels: result.metric, points, step };
  }));
  series.forEach((one, number) => {
    const fixed = overridden(panel, one.name, "color");
    one.bars = (overridden(panel, one.name, "custom.drawStyle") || (panel.fieldConfig.defaults.custom || {}).drawStyle) === "bars";
    const opacity = overridden(panel, one.name, "custom.fillOpacity");
    one.opacity = (opacity !== undefined ? opacity : (panel.fieldConfig.defaults.custom || {}).fillOpacity) / 100;
    one.colour = fixed ? colour(fixed.fixedColor) : PALETTE[number % PALETTE.length];
  });
  return series;
}
