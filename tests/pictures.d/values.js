"use strict";
// Numbers with units, colours by thresholds, and what is calculated for legends, as Grafana does it.

const COLOURS = {
  green: "#73bf69", red: "#f2495c", "dark-red": "#c4162a", orange: "#ff9830", yellow: "#fade2a",
  blue: "#5794f2", purple: "#b877d9", text: "#ccccdc",
};

const PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0",
  "#37872d", "#fade2a", "#447ebc", "#c15c17", "#ca95e5", "#0a8a7c", "#e0752d", "#806eb7"];

const DURATIONS = [[31536000, "years"], [604800, "weeks"], [86400, "days"], [3600, "hours"], [60, "mins"], [1, "s"],
  [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
const THOUSANDS = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];
const BINARY = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];

/** As many digits as tell something, where the panel does not say how many. */
function digits(value, decimals) {
  if (decimals !== undefined) return value.toFixed(decimals);
  const size = Math.abs(value);
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3);
}

/** The factor and the word for a number of this size. */
function scale(value, steps) {
  return steps.find(([factor]) => Math.abs(value) >= factor) || [1, ""];
}

function formatted(value, unit, decimals) {
  const [thousand, letter] = scale(value, THOUSANDS);
  const short = digits(value / thousand, letter ? undefined : decimals);
  switch (unit) {
    case "percentunit": return digits(value * 100, decimals) + "%";
    case "currencyUSD": return (value < 0 ? "-$" : "$") + digits(Math.abs(value) / thousand, decimals) + letter;
    case "reqps": return short + letter + " req/s";
    case "ops": return short + letter + " ops/s";
    case "bytes": {
      const [factor, word] = value === 0 ? [1, "B"] : scale(value, BINARY);
      return digits(value / factor, decimals) + " " + word;
    }
    case "s": {
      const [factor, word] = value === 0 ? [1, "s"] : scale(value, DURATIONS);
      return digits(value / factor, decimals) + " " + word;
    }
    case "short": return letter ? short + " " + letter : short;
    default: return digits(value, decimals);
  }
}

/** The same for an axis, without zeros that say nothing. */
function formattedTick(value, unit) {
  return formatted(Number(value.toPrecision(12)), unit).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

/** Colour of the highest threshold that is reached. */
function thresholdColour(value, thresholds) {
  const reached = thresholds.steps.filter((step) => step.value === null || value >= step.value);
  return colour(reached[reached.length - 1].color);
}

function colour(name) {
  return COLOURS[name] || name;
}

const CALCULATIONS = {
  lastNotNull: ["Last *", (values) => values[values.length - 1]],
  mean: ["Mean", (values) => d3.mean(values)],
  max: ["Max", (values) => d3.max(values)],
  min: ["Min", (values) => d3.min(values)],
};
