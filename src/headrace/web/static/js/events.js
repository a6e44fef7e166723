// The events view: what changed, when, who, why; newest first and live.

import { get } from "/static/js/api.js";
import { byId, h, icon, reconcile, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showInstant } from "/static/js/format.js";
import { cell, tableHead } from "/static/js/parts.js";
import { eventWords, reasonWords } from "/static/js/words.js";

const KEPT_MOST = 1_000;
const SHOWN_MOST = 200;
const PAGE = 500;
const COLUMNS = {
  when: { label: "When" },
  what: { label: "What" },
  subject: { label: "Subject" },
  why: { label: "Why" },
  who: { label: "Who" },
};

/** Newest first, without doubles, at most KEPT_MOST. */
export function merged(known, more) {
  const byNumber = new Map([...known, ...more].map((event) => [event.event_id, event]));
  return [...byNumber.values()].sort((a, b) => b.event_id - a.event_id).slice(0, KEPT_MOST);
}

/** Read the newest events. */
export const loadEvents = () => get(`/v1/events?newest=true&limit=${PAGE}`);

/** A link to the appliance or title that an event is about, or its plain name. */
export function subjectLink(subject) {
  const [kind, ...rest] = subject.split("/");
  const id = rest.join("/");
  if (kind === "appliance") return h("a", { href: `#/appliance/${id}` }, id);
  if (kind === "title") return h("a", { href: "#/titles" }, id);
  return h("span", {}, id || subject);
}

/** What to say of the reason. */
export const whyWords = (event) => [event.reason && reasonWords(event.reason), event.detail.replaceAll(" -> ", " → ")].filter(Boolean).join(": ");

/** The view over `store` ({events}); `update()` after each change. */
export function eventsView(store) {
  const rows = new Map();
  const recent = new Map();
  const filter = { text: "", kind: "" };
  byId("events-table").append(h("caption", { class: "visually-hidden" }, "Events, newest first"), tableHead(Object.values(COLUMNS)), h("tbody", { role: "rowgroup" }));
  const body = byId("events-table").querySelector("tbody");
  byId("events-filter").addEventListener("input", (event) => {
    filter.text = event.target.value.trim().toLowerCase();
    update();
  });
  byId("events-kind").addEventListener("change", (event) => {
    filter.kind = event.target.value;
    update();
  });

  function isWanted(event) {
    if (filter.kind && event.kind.split(".")[0] !== filter.kind) return false;
    const shown = `${eventWords(event.kind).word} ${event.kind} ${event.subject} ${whyWords(event)} ${event.reason} ${event.actor}`;
    return !filter.text || shown.toLowerCase().includes(filter.text);
  }

  function showKinds() {
    const kinds = [...new Set(store.events.map((event) => event.kind.split(".")[0]))].sort();
    const select = byId("events-kind");
    if (select.dataset.kinds === kinds.join(" ")) return;
    select.dataset.kinds = kinds.join(" ");
    select.replaceChildren(h("option", { value: "" }, "All"), ...kinds.map((kind) => h("option", { value: kind, selected: kind === filter.kind }, `${eventWords(kind).word}s`.replace(/ys$/, "ies"))));
  }

  function update() {
    showKinds();
    const wanted = store.events.filter(isWanted);
    setText(byId("events-count"), wanted.length > SHOWN_MOST ? `The newest ${SHOWN_MOST} of ${wanted.length}` : `${wanted.length} shown`);
    setShown(byId("events-empty"), wanted.length === 0);
    setShown(byId("events-table"), wanted.length > 0);
    reconcile(body, rows, wanted.slice(0, SHOWN_MOST), (event) => event.event_id, eventRow);
    setShown(byId("recent"), store.events.length > 0);
    reconcile(byId("recent-list"), recent, store.events.slice(0, 5), (event) => event.event_id, eventLine);
  }

  return { update };
}

function eventRow(event) {
  const words = eventWords(event.kind);
  return {
    element: h(
      "tr",
      { role: "row", "data-event": event.event_id },
      cell(COLUMNS.when, instant(event.at_s)),
      cell(COLUMNS.what, h("span", { class: "with-icon" }, icon(words.icon), h("span", {}, words.word))),
      cell(COLUMNS.subject, subjectLink(event.subject)),
      cell(COLUMNS.why, whyWords(event) || "–"),
      cell(COLUMNS.who, event.actor),
    ),
  };
}

/** One event as a line of a short list. */
export function eventLine(event) {
  const words = eventWords(event.kind);
  const why = whyWords(event);
  return {
    element: h(
      "li",
      {},
      instant(event.at_s),
      icon(words.icon),
      h("span", {}, `${words.word} `, event.subject === "fleet" ? "" : subjectLink(event.subject), why ? h("small", {}, why) : ""),
    ),
  };
}

function instant(epochS) {
  const element = h("time", { datetime: new Date(epochS * 1000).toISOString() }, showInstant(epochS));
  setAttribute(element, "title", new Date(epochS * 1000).toISOString());
  return element;
}
