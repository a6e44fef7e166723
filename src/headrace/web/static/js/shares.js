// Shares of bytes by hour: what panels on the fleet page have in common.

import { timePlot } from "/static/js/plots.js";
import { showMinute, showRatio } from "/static/js/format.js";

export const RELOAD_MS = 60_000;
export const HEADLINE_HOURS = 24;
const PLOT_HOURS = 48;
const HOUR_S = 3_600;

/** The hour that is under way, in hours since the epoch. */
export const hourNow = () => Math.floor(Date.now() / 1_000 / HOUR_S);

/** Those of `hours` ([{hour, bytes: {name: bytes}}]) that the plot shows, or that the headline is of. */
export const ofPlot = (hours) => hours.filter((one) => one.hour > hourNow() - PLOT_HOURS);
export const ofHeadline = (hours) => hours.filter((one) => one.hour > hourNow() - HEADLINE_HOURS);

const bytesOf = (one, names) => names.reduce((total, name) => total + (one.bytes[name] ?? 0), 0);
const totalOf = (one) => Object.values(one.bytes).reduce((total, bytes) => total + bytes, 0);

/** All bytes of these hours. */
export const allBytes = (hours) => hours.reduce((total, one) => total + totalOf(one), 0);

/** Shares of these hours by group ([{name, label, names}]): [{...group, bytes, ratio}]. */
export function sharesOf(hours, groups) {
  const total = allBytes(hours);
  return groups.map((group) => {
    const bytes = hours.reduce((sum, one) => sum + bytesOf(one, group.names), 0);
    return { ...group, bytes, ratio: total ? bytes / total : NaN };
  });
}

/** Columns for a plot of these groups: every hour up to `newest`, and its end; null where nobody was given anything. */
export function columnsOf(hours, groups, newest) {
  const byHour = new Map(hours.map((one) => [one.hour, one]));
  const numbers = Array.from({ length: PLOT_HOURS }, (_, index) => newest - PLOT_HOURS + 1 + index);
  const share = (one, names) => (one && totalOf(one) ? bytesOf(one, names) / totalOf(one) : null);
  const shares = groups.map((group) => numbers.map((number) => share(byHour.get(number), group.names)));
  // A step is drawn up to the next instant, so the newest hour wants an end.
  return [[...numbers, newest + 1].map((number) => number * HOUR_S), ...shares.map((column) => [...column, column.at(-1)])];
}

/** A plot of shares by hour in `parent`; `update(hours, groups)` draws it anew when the groups are others. */
export function sharesPlot(parent, { label, max }) {
  let plot = null;
  let plotted = "";
  return {
    update(hours, groups) {
      const names = groups.map((group) => group.name).join(" ");
      if (plotted !== names) {
        plot?.dispose();
        plotted = names;
        const series = groups.map((group, index) => ({ label: group.label, colour: group.colour ?? index, isStepped: true, isFilled: index === 0 }));
        plot = timePlot(parent, { label, format: showRatio, time: (epochS) => showMinute(epochS, epochS), series, spanS: PLOT_HOURS * HOUR_S, height: 150, max });
      }
      plot.update(columnsOf(hours, groups, hourNow()));
    },
  };
}

/** 0.004 -> "0.4%": a small share of very many bytes is not nothing. */
export function showShare(ratio) {
  return ratio > 0 && ratio < 0.1 ? `${(ratio * 100).toFixed(1)}%` : showRatio(ratio);
}
