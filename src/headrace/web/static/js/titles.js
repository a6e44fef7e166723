// The titles view: what is published, how large, who holds it.

import { get } from "/static/js/api.js";
import { byId, h, icon, reconcile, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showBytes, showDuration, showInstant } from "/static/js/format.js";
import { bar, cell, tableHead } from "/static/js/parts.js";

const COLUMNS = {
  name: { label: "Title" },
  length: { label: "Length", isNumber: true },
  size: { label: "Size", isNumber: true },
  renditions: { label: "Renditions" },
  holders: { label: "Held whole by" },
  published: { label: "Published" },
};
const RELOAD_MS = 5_000;

/** "240p to 1080p (4) · 2 audio · 1 subtitle". */
export function renditionWords(renditions) {
  const of = (kind) => renditions.filter((one) => one.kind === kind);
  const heights = of("video").map((one) => one.height).sort((a, b) => a - b);
  const video = heights.length > 1 ? `${heights[0]}p to ${heights.at(-1)}p (${heights.length})` : `${heights[0] ?? "?"}p`;
  const audio = of("audio").length;
  const text = of("text").length;
  return [video, audio && `${audio} audio`, text && `${text} subtitle${text > 1 ? "s" : ""}`].filter(Boolean).join(" · ");
}

/** The view over `store` ({fleet, titles}); `load()` asks the API, at most every few seconds unless told to. */
export function titlesView(store) {
  const rows = new Map();
  let loadedMs = 0;
  byId("titles-table").append(h("caption", { class: "visually-hidden" }, "Published titles"), tableHead(Object.values(COLUMNS)), h("tbody", { role: "rowgroup" }));
  const body = byId("titles-table").querySelector("tbody");

  async function load({ isForced = false } = {}) {
    if (!isForced && Date.now() - loadedMs < RELOAD_MS) return;
    loadedMs = Date.now();
    try {
      const answer = await get("/v1/titles");
      store.titles = [...answer].sort((a, b) => b.published_at_s - a.published_at_s);
      setShown(byId("titles-error"), false);
    } catch (error) {
      setText(byId("titles-error"), error.message);
      setShown(byId("titles-error"), true);
    }
    update();
  }

  function update() {
    if (!store.titles) return;
    setShown(byId("titles-empty"), store.titles.length === 0);
    setShown(byId("titles-table"), store.titles.length > 0);
    reconcile(body, rows, store.titles, (view) => view.title.title_id, () => titleRow(store));
  }

  return { load, update };
}

function titleRow(store) {
  const name = h("span", { class: "name" });
  const id = h("small");
  const play = h("a", { class: "button small" }, icon("play"), "Play");
  const length = h("span");
  const size = h("span");
  const renditions = h("span");
  const holders = bar();
  const published = h("span");
  const element = h(
    "tr",
    { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, h("div", { class: "with-action" }, h("span", {}, name, id), play)),
    cell(COLUMNS.length, length),
    cell(COLUMNS.size, size),
    cell(COLUMNS.renditions, renditions),
    cell(COLUMNS.holders, holders.element),
    cell(COLUMNS.published, published),
  );
  return {
    element,
    update({ title, size_bytes, holders: count, version, published_at_s }) {
      const most = store.fleet?.appliances.length ?? 0;
      setText(name, title.name || title.title_id);
      setText(id, version > 1 ? `${title.title_id}, version ${version}` : title.title_id);
      setAttribute(play, "href", `/player?title=${encodeURIComponent(title.title_id)}`);
      setAttribute(play, "aria-label", `Play ${title.name || title.title_id}`);
      setText(length, showDuration(title.duration_s));
      setText(size, showBytes(size_bytes));
      setText(renditions, renditionWords(title.renditions));
      holders.update({ value: count, most, label: "Held whole", text: `${count} of ${most} appliances` });
      setText(published, showInstant(published_at_s));
    },
  };
}
