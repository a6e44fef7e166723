// Offload on the fleet page: which share of bytes stayed in the clients' own site, by hour and over the last day.

import { get } from "/static/js/api.js";
import { byId, h, setShown, setText } from "/static/js/dom.js";
import { showAge, showBytes, showMinute, showRatio } from "/static/js/format.js";
import { seriesClass, timePlot } from "/static/js/plots.js";

const RELOAD_MS = 60_000;
const HOUR_S = 3_600;
const HOURS = 24; // of the headline
const PLOT_HOURS = 48;

/** What the page tells apart, of the tiers that are counted; `always` stands there also when it served nothing. */
const GROUPS = [
  { name: "own", label: "own site", tiers: ["own"], always: true },
  { name: "embedded", label: "other embedded sites", tiers: ["embedded"] },
  { name: "peering", label: "peering", tiers: ["private-peering", "public-peering"], always: true },
  { name: "origin", label: "origin", tiers: ["origin-side", "fetched-through"], always: true },
  { name: "unknown", label: "home not known", tiers: ["no-home", "unknown"] },
];

const bytesOf = (hour, tiers) => tiers.reduce((total, tier) => total + (hour.bytes_by_tier[tier] ?? 0), 0);
const totalOf = (hour) => Object.values(hour.bytes_by_tier).reduce((total, bytes) => total + bytes, 0);
const sum = (hours, of) => hours.reduce((total, hour) => total + of(hour), 0);

/** Shares of these hours by group: [{...group, bytes, ratio}]. */
export function sharesOf(hours) {
  const total = sum(hours, totalOf);
  return GROUPS.map((group) => {
    const bytes = sum(hours, (hour) => bytesOf(hour, group.tiers));
    return { ...group, bytes, ratio: total ? bytes / total : NaN };
  });
}

/** Columns for a plot of these groups: every hour up to `newest`, and its end; null where nobody was given anything. */
export function columnsOf(hours, groups, newest) {
  const byHour = new Map(hours.map((hour) => [hour.hour, hour]));
  const numbers = Array.from({ length: PLOT_HOURS }, (_, index) => newest - PLOT_HOURS + 1 + index);
  const share = (hour, tiers) => (hour && totalOf(hour) ? bytesOf(hour, tiers) / totalOf(hour) : null);
  const shares = groups.map((group) => numbers.map((number) => share(byHour.get(number), group.tiers)));
  // A step is drawn up to the next instant, so the newest hour wants an end.
  return [[...numbers, newest + 1].map((number) => number * HOUR_S), ...shares.map((column) => [...column, column.at(-1)])];
}

/** The panel; `load()` asks the API, at most once a minute unless told to. */
export function offloadPanel() {
  let loadedMs = 0;
  let plot = null;
  let plotted = "";

  async function load({ isForced = false } = {}) {
    if (!isForced && Date.now() - loadedMs < RELOAD_MS) return;
    loadedMs = Date.now();
    try {
      update((await get("/v1/offload")).summary);
    } catch {
      return; // what was told last stays; the page says itself when control is away
    }
  }

  function update(summary) {
    const nowHour = Math.floor(Date.now() / 1_000 / HOUR_S);
    const hours = summary?.hours.filter((hour) => hour.hour > nowHour - PLOT_HOURS) ?? [];
    const isTold = sum(hours, totalOf) > 0;
    setShown(byId("offload"), true);
    setShown(byId("offload-hint"), summary === null);
    setShown(byId("offload-told"), isTold);
    setShown(byId("offload-plot"), isTold);
    setShown(byId("offload-old"), !isTold && summary !== null);
    if (!isTold) return;
    const shares = sharesOf(hours.filter((hour) => hour.hour > nowHour - HOURS));
    const shown = sharesOf(hours).filter((group) => group.always || group.bytes > 0).map((group) => group.name);
    setText(byId("offload-own"), showRatio(shares[0].ratio));
    const rest = shares.filter((group) => shown.includes(group.name));
    byId("offload-shares").replaceChildren(
      ...rest.map((group, index) => h("li", { class: seriesClass(index), "data-group": group.name }, h("span", { class: "swatch" }), h("span", {}, group.label), h("b", {}, showShare(group.ratio)))),
    );
    setText(byId("offload-note"), `Last ${HOURS} hours, ${showBytes(sum(shares, (group) => group.bytes))}, counted ${showAge(Date.now() / 1_000 - summary.made_s)}.`);
    showPlot(hours, GROUPS.filter((group) => shown.includes(group.name)), nowHour);
  }

  function showPlot(hours, groups, newest) {
    const names = groups.map((group) => group.name).join(" ");
    if (plotted !== names) {
      plot?.dispose();
      plotted = names;
      const series = groups.map((group, index) => ({ label: group.label, colour: index, isStepped: true, isFilled: index === 0 }));
      const label = "Share of bytes by who served them, by hour of the last two days";
      plot = timePlot(byId("offload-plot"), { label, format: showRatio, time: (epochS) => showMinute(epochS, epochS), series, spanS: PLOT_HOURS * HOUR_S, height: 150, max: 1 });
    }
    plot.update(columnsOf(hours, groups, newest));
  }

  return { load };
}

/** 0.004 -> "0.4%": a small share of very many bytes is not nothing. */
function showShare(ratio) {
  return ratio > 0 && ratio < 0.1 ? `${(ratio * 100).toFixed(1)}%` : showRatio(ratio);
}
