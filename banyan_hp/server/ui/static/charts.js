"use strict";
// Draws each element with `data-chart`: {title, unit, step, times, series: [{label, color, values}]}, times in UTC.
// A drag chooses a time, which becomes the page's `since` and `until`.

const HEIGHT = 160;
const drawn = new Map();

const UNITS = {
  count: (value) => new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value),
  ms: (value) => (value < 1000 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`),
  usd: (value) => `$${Number(value.toPrecision(3))}`,
};

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function instant(seconds, step) {
  const text = new Date(seconds * 1000).toISOString();
  return step === "day" ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
}

// The day where days are marked, the time of day where hours are.
function marks(splits, length) {
  const text = (seconds) => new Date(seconds * 1000).toISOString();
  return splits.map((each) => (length >= 86400 ? text(each).slice(5, 10) : text(each).slice(11, 16)));
}

function shown(format, value) {
  return value == null ? "–" : format(value);
}

function axes(format) {
  const common = { stroke: color("--pico-muted-color"), font: "12px system-ui, sans-serif" };
  const lines = { stroke: color("--pico-muted-border-color"), width: 1 };
  return [
    { ...common, size: 32, grid: { show: false }, ticks: lines, values: (_, splits, __, ___, length) => marks(splits, length) },
    { ...common, grid: lines, ticks: { show: false }, size: 58, values: (_, values) => values.map((each) => shown(format, each)) },
  ];
}

function options(chart, width) {
  const format = UNITS[chart.unit];
  return {
    width,
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { sync: { key: "charts" }, drag: { x: true, y: false, setScale: false } },
    scales: { y: { range: (_, __, most) => [0, (most || 1) * 1.08] } },
    axes: axes(format),
    series: [
      { label: "UTC", value: (_, time) => (time == null ? "–" : instant(time, chart.step)) },
      ...chart.series.map((each) => ({
        label: each.label,
        stroke: color(`--chart-${each.color}`),
        width: 1.75,
        spanGaps: chart.unit === "ms",
        points: { size: 5, show: chart.times.length < 40 },
        value: (_, value) => shown(format, value),
      })),
    ],
    hooks: { setSelect: [(plot) => choose(plot, chart)] },
  };
}

function choose(plot, chart) {
  const { left, width } = plot.select;
  if (width < 4) return;
  const length = chart.step === "day" ? 86400 : 3600;
  const [first, last] = [plot.posToIdx(left), plot.posToIdx(left + width)].map((index) => chart.times[index]);
  const address = new URL(window.location.href);
  address.searchParams.delete("range");
  address.searchParams.set("since", `${new Date(first * 1000).toISOString().slice(0, 19)}Z`);
  address.searchParams.set("until", `${new Date((last + length) * 1000).toISOString().slice(0, 19)}Z`);
  window.location.assign(address);
}

function draw(element) {
  const chart = JSON.parse(element.dataset.chart);
  drawn.get(element)?.destroy();
  const data = [chart.times, ...chart.series.map((each) => each.values)];
  drawn.set(element, new uPlot(options(chart, element.clientWidth), data, element));
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = drawn.get(target);
    if (plot && plot.width !== target.clientWidth) plot.setSize({ width: target.clientWidth, height: HEIGHT });
  }
});

function drawAll() {
  for (const element of document.querySelectorAll("[data-chart]")) {
    draw(element);
    resized.observe(element);
  }
}

drawAll();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
