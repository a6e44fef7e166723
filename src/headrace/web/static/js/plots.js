// Plots: uPlot for the large ones, a small canvas line for table rows. Colours come from the style sheet, so themes fit.

import { h } from "/static/js/dom.js";
import { showClock } from "/static/js/format.js";

const SERIES = 8;
const SPAN_LEAST_S = 60; // A young plot shows at least this much time, so that its line does not race.

/** Colour number `index` of the palette as the style sheet has it now. */
export const seriesColour = (index) => cssValue(`--series-${(index % SERIES) + 1}`);

/** Class that colours an element like series `index`. */
export const seriesClass = (index) => `series-${(index % SERIES) + 1}`;

const cssValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A plot over time in `parent`.
 *
 * Args:
 *   label: what is shown, for screen readers.
 *   format: makes text of a value; time: of an instant, UTC epoch seconds.
 *   series: [{label, colour: index, isStepped, isFilled}].
 * Returns {update(columns), dispose()}; columns as uPlot's: first epoch seconds, then one array per series (null is a gap).
 */
export function timePlot(parent, { label, format, series, height = 170, min = 0, max = null, spanS, time = showClock }) {
  if (!window.uPlot) {
    parent.append(h("p", { class: "quiet" }, "The plot library is missing on the server: run scripts/vendor there."));
    return { update() {}, dispose() {} };
  }
  const box = h("div", { class: "plot", role: "img", "aria-label": label });
  parent.append(box);
  let plot = null;
  let columns = [[], ...series.map(() => [])];

  function build() {
    plot?.destroy();
    const line = { stroke: cssValue("--grid"), width: 1 };
    const axis = { stroke: cssValue("--muted"), font: "12px system-ui, sans-serif", grid: line, ticks: { show: false } };
    plot = new window.uPlot(
      {
        width: Math.max(200, box.clientWidth),
        height,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        padding: [8, 32, 0, 0],
        scales: {
          x: { time: true, range: (_u, low, high) => [Math.min(Math.max(low, high - spanS), high - SPAN_LEAST_S), high] },
          y: { range: (_u, _low, high) => [min, max ?? (Math.max(high ?? 0, min + 1e-9) * 1.08 || 1)] },
        },
        axes: [
          { ...axis, size: 26, space: 90, values: (_u, splits) => splits.map((one) => time(one)) },
          { ...axis, size: 72, space: 34, values: (_u, splits) => splits.map((value) => format(value)) },
        ],
        series: [
          {},
          ...series.map((one) => ({
            label: one.label,
            stroke: seriesColour(one.colour),
            width: 2,
            fill: one.isFilled ? `${seriesColour(one.colour)}26` : undefined,
            paths: one.isStepped ? window.uPlot.paths.stepped({ align: 1 }) : undefined,
            points: { show: false },
          })),
        ],
      },
      columns,
      box,
    );
  }

  const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(200, box.clientWidth), height }));
  build();
  resized.observe(box);
  document.addEventListener("themechange", build);
  return {
    update(next) {
      columns = next;
      plot.setData(columns);
    },
    dispose() {
      resized.disconnect();
      document.removeEventListener("themechange", build);
      plot.destroy();
      box.remove();
    },
  };
}

/** A line of 96 by 24 pixels; {element, update(values)}: null is a gap. */
export function sparkline() {
  const element = h("canvas", { class: "spark", width: 192, height: 48, "aria-hidden": "true" });
  return {
    element,
    update(values) {
      const paint = element.getContext("2d");
      const { width, height } = element;
      paint.clearRect(0, 0, width, height);
      const most = Math.max(1, ...values.filter((value) => value !== null));
      paint.strokeStyle = cssValue("--accent");
      paint.lineWidth = 3;
      paint.lineJoin = "round";
      paint.beginPath();
      let isDown = false;
      values.forEach((value, index) => {
        if (value === null) {
          isDown = false;
          return;
        }
        const x = (index / Math.max(1, values.length - 1)) * (width - 4) + 2;
        const y = height - 3 - (value / most) * (height - 6);
        if (isDown) paint.lineTo(x, y);
        else paint.moveTo(x, y);
        isDown = true;
      });
      paint.stroke();
    },
  };
}
