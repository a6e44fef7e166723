// The titles view: what is published, how large, who holds it.

import { get } from "/static/js/api.js";
import { byId, h, icon, reconcile, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showBytes, showCount, showDuration, showInstant } from "/static/js/format.js";
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
const TYPING_MS = 200;
const PAGE = 100;

/** "240p to 1080p (4) · 2 audio · 1 subtitle". */
export function renditionWords(renditions) {
  const of = (kind) => renditions.filter((one) => one.kind === kind);
  const heights = of("video").map((one) => one.height).sort((a, b) => a - b);
  const video = heights.length > 1 ? `${heights[0]}p to ${heights.at(-1)}p (${heights.length})` : `${heights[0] ?? "?"}p`;
  const audio = of("audio").length;
  const text = of("text").length;
  return [video, audio && `${audio} audio`, text && `${text} subtitle${text > 1 ? "s" : ""}`].filter(Boolean).join(" · ");
}

/** The view over `store` ({fleet}); `load()` asks the API for the page shown, at most every few seconds unless told to. */
export function titlesView(store) {
  const rows = new Map();
  const state = { titles: null, hasMore: false, find: "", marks: [] };
  let loadedMs = 0;
  let asked = 0;
  let typing = 0;
  byId("titles-table").append(h("caption", { class: "visually-hidden" }, "Published titles, newest first"), tableHead(Object.values(COLUMNS)), h("tbody", { role: "rowgroup" }));
  const body = byId("titles-table").querySelector("tbody");

  byId("titles-find").addEventListener("input", (event) => {
    state.find = event.target.value.trim();
    state.marks = [];
    clearTimeout(typing);
    typing = setTimeout(() => load({ isForced: true }), TYPING_MS);
  });
  // Not `disabled` at the ends: that would take the focus away from who pages by keyboard.
  byId("titles-older").addEventListener("click", () => {
    if (!state.hasMore) return;
    state.marks.push(state.titles.at(-1).title.title_id);
    load({ isForced: true, isTurned: true });
  });
  byId("titles-newer").addEventListener("click", () => {
    if (!state.marks.length) return;
    state.marks.pop();
    load({ isForced: true, isTurned: true });
  });

  async function load({ isForced = false, isTurned = false } = {}) {
    if (!isForced && Date.now() - loadedMs < RELOAD_MS) return;
    loadedMs = Date.now();
    asked += 1;
    const own = asked;
    const query = new URLSearchParams({ newest: "true", limit: PAGE + 1 });
    if (state.find) query.set("q", state.find);
    if (state.marks.length) query.set("after", state.marks.at(-1));
    try {
      const answer = await get(`/v1/titles?${query}`);
      if (own !== asked) return; // The words or the page have changed since.
      state.hasMore = answer.length > PAGE;
      state.titles = answer.slice(0, PAGE);
      setShown(byId("titles-error"), false);
    } catch (error) {
      setText(byId("titles-error"), error.message);
      setShown(byId("titles-error"), true);
    }
    update();
    if (isTurned) byId("titles-title").scrollIntoView({ block: "nearest" });
  }

  function countWords() {
    if (!state.titles.length) return "";
    const before = state.marks.length * PAGE;
    const last = before + state.titles.length;
    const range = `${showCount(before + 1)} to ${showCount(last)}`;
    if (state.find) return before || state.hasMore ? `${range} of those found` : `${showCount(last)} found`;
    return `${range} of ${showCount(Math.max(last, store.fleet?.title_count ?? 0))}, newest first`;
  }

  function update() {
    if (!state.titles) return;
    const isEmpty = state.titles.length === 0;
    setText(byId("titles-count"), countWords());
    setShown(byId("titles-empty"), isEmpty && !state.find && !state.marks.length);
    setShown(byId("titles-none"), isEmpty && Boolean(state.find));
    setShown(byId("titles-table"), !isEmpty);
    setShown(byId("titles-pages"), state.hasMore || state.marks.length > 0);
    setAttribute(byId("titles-newer"), "aria-disabled", state.marks.length ? null : "true");
    setAttribute(byId("titles-older"), "aria-disabled", state.hasMore ? null : "true");
    reconcile(body, rows, state.titles, (view) => view.title.title_id, () => titleRow(store));
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
