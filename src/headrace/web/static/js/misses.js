// Misses on the fleet page: which share of bytes the best appliances for their clients served, and what kept them from the rest.

import { get } from "/static/js/api.js";
import { byId, h, setShown, setText } from "/static/js/dom.js";
import { showAge, showBytes } from "/static/js/format.js";
import { cell, tableHead } from "/static/js/parts.js";
import { seriesClass } from "/static/js/plots.js";
import { allBytes, HEADLINE_HOURS, ofHeadline, ofPlot, RELOAD_MS, sharesOf, sharesPlot, showShare } from "/static/js/shares.js";

const ROWS = 6;

/** Why the best appliances did not serve, in the order of the legend; each keeps its colour. */
const REASONS = [
  { name: "content", label: "title not held there" },
  { name: "load", label: "near capacity" },
  { name: "health", label: "not in working order" },
  { name: "route", label: "no appliance hears the client" },
  { name: "choice", label: "player's own choice" },
  { name: "other", label: "changed shortly before" },
].map((reason, index) => ({ ...reason, names: [reason.name], colour: index }));
const COLUMNS = [{ label: "Site that should have served" }, { label: "Title" }, { label: "Why it did not" }, { label: "Bytes", isNumber: true }];
const BEST = { name: "best", names: ["best"] };

/** The panel; `load()` asks the API, at most once a minute unless told to. */
export function missesPanel() {
  let loadedMs = 0;
  const table = byId("misses-rows");
  table.tBodies[0].before(tableHead(COLUMNS));
  const plot = sharesPlot(byId("misses-plot"), { label: "Share of bytes that the best appliances did not serve, by reason, by hour of the last two days", max: null });

  async function load({ isForced = false } = {}) {
    if (!isForced && Date.now() - loadedMs < RELOAD_MS) return;
    loadedMs = Date.now();
    try {
      update(await get("/v1/misses"));
    } catch {
      return; // what was told last stays; the page says itself when control is away
    }
  }

  function update({ nodes, hours: told, rows }) {
    const hours = ofPlot(told.map(({ hour, bytes_by_class }) => ({ hour, bytes: bytes_by_class })));
    const isTold = allBytes(hours) > 0;
    setShown(byId("misses"), isTold);
    if (!isTold) return;
    const day = ofHeadline(hours);
    const shown = sharesOf(hours, REASONS).filter((reason) => reason.bytes > 0).map((reason) => reason.name);
    const reasons = sharesOf(day, REASONS).filter((reason) => shown.includes(reason.name));
    setText(byId("misses-best"), showShare(sharesOf(day, [BEST])[0].ratio));
    byId("misses-shares").replaceChildren(
      ...reasons.map((reason) => h("li", { class: seriesClass(reason.colour), "data-reason": reason.name }, h("span", { class: "swatch" }), h("span", {}, reason.label), h("b", {}, showShare(reason.ratio)))),
    );
    const newest = Math.max(...nodes.map((node) => node.made_s));
    const who = nodes.length === 1 ? "one steering node" : `${nodes.length} steering nodes`;
    setText(byId("misses-note"), `Last ${HEADLINE_HOURS} hours, ${showBytes(allBytes(day))} in sessions of ${who}, explained ${showAge(Date.now() / 1_000 - newest)}.`);
    setShown(byId("misses-plot"), reasons.length > 0);
    if (reasons.length > 0) plot.update(hours, REASONS.filter((reason) => shown.includes(reason.name)));
    setShown(table, rows.length > 0);
    table.tBodies[0].replaceChildren(...rows.slice(0, ROWS).map(line));
  }

  function line(row) {
    const label = REASONS.find((reason) => reason.name === row.reason)?.label ?? row.reason;
    const texts = [row.site_id || "–", row.title_id, label, showBytes(row.bytes)];
    return h("tr", { role: "row" }, ...COLUMNS.map((column, index) => cell(column, texts[index])));
  }

  return { load };
}
