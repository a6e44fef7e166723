// Maintenance windows on the fleet page: those that run, those that are planned, and on wish those that have ended.

import { get } from "/static/js/api.js";
import { byId, h, reconcile, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showDuration, showMinute } from "/static/js/format.js";
import { cell, chip, tableHead } from "/static/js/parts.js";
import { plainWords } from "/static/js/words.js";

const COLUMNS = {
  name: { label: "Window" },
  target: { label: "For" },
  times: { label: "Work" },
  state: { label: "State" },
  planned: { label: "Planned by" },
};
const RELOAD_MS = 30_000; // each move of a window is an event, which reloads at once
const PAST_MOST = 50;
const NAMED_MOST = 3;

const STATES = {
  open: { word: "Open", tone: "warn", icon: "off" },
  draining: { word: "Draining", tone: "info", icon: "drain" },
  returning: { word: "Returning", tone: "info", icon: "rise" },
  planned: { word: "Planned", tone: "idle", icon: "dot" },
  missed: { word: "Missed", tone: "bad", icon: "cross" },
  done: { word: "Done", tone: "ok", icon: "check" },
  cancelled: { word: "Cancelled", tone: "idle", icon: "cross" },
};
const HELD_BACK = { word: "May not begin", tone: "warn", icon: "warning" };
const RUNNING = ["open", "draining", "returning"];
const ENDED = ["done", "cancelled", "missed"];

/** Running ones as they end, planned ones as they begin, then the past ones, newest first. */
export function ordered(windows) {
  const rank = ({ state }) => (RUNNING.includes(state) ? 0 : ENDED.includes(state) ? 2 : 1);
  const time = (one) => [one.ends_s, one.starts_s - one.drain_ahead_s, -one.ends_s][rank(one)];
  return [...windows].sort((a, b) => rank(a) - rank(b) || time(a) - time(b));
}

/** The panel; `load()` asks the API, at most every half minute unless told to. */
export function windowsPanel() {
  const rows = new Map();
  let windows = [];
  let loadedMs = 0;
  let asked = 0;
  const body = h("tbody", { role: "rowgroup" });
  byId("windows-table").append(h("caption", { class: "visually-hidden" }, "Maintenance windows"), tableHead(Object.values(COLUMNS)), body);
  byId("windows-past").addEventListener("change", update);

  async function load({ isForced = false } = {}) {
    if (!isForced && Date.now() - loadedMs < RELOAD_MS) return;
    loadedMs = Date.now();
    asked += 1;
    const own = asked;
    try {
      const answer = await get("/v1/maintenance?past=true");
      if (own !== asked) return;
      windows = ordered(answer);
      setShown(byId("windows-error"), false);
    } catch (error) {
      setText(byId("windows-error"), error.message);
      setShown(byId("windows-error"), true);
    }
    update();
  }

  function update() {
    const current = windows.filter((one) => !ENDED.includes(one.state));
    const past = windows.filter((one) => ENDED.includes(one.state));
    const shown = byId("windows-past").checked ? [...current, ...past.slice(0, PAST_MOST)] : current;
    setText(byId("windows-count"), countWords(current, past));
    setShown(byId("windows"), windows.length > 0 || !byId("windows-error").hidden);
    setShown(byId("windows-past").parentElement, past.length > 0);
    setShown(byId("windows-table"), shown.length > 0);
    reconcile(body, rows, shown, (one) => one.window_id, windowRow);
  }

  return { load };
}

function countWords(current, past) {
  const running = current.filter((one) => RUNNING.includes(one.state)).length;
  const words = [`${running || "none"} running`, `${current.length - running || "none"} planned`];
  if (past.length > PAST_MOST) words.push(`the newest ${PAST_MOST} of ${past.length} past ones`);
  else if (past.length) words.push(`${past.length} past`);
  return words.join(", ");
}

function memberWords(members) {
  if (!members.length) return "";
  return `holds ${members.length > NAMED_MOST ? `${members.length} appliances` : members.join(", ")}`;
}

function windowRow() {
  const [name, link, target, times, planner] = ["b", "a", "span", "span", "span"].map((tag) => h(tag));
  const [reason, members, lasts, detail, plannedAt] = Array.from({ length: 5 }, () => h("small"));
  const state = chip();
  const element = h(
    "tr",
    { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, name, reason),
    cell(COLUMNS.target, target, link, members),
    cell(COLUMNS.times, times, lasts),
    cell(COLUMNS.state, h("span", { class: "chips" }, state.element), detail),
    cell(COLUMNS.planned, planner, plannedAt),
  );

  function update(one) {
    setText(name, one.window_id);
    setText(reason, one.reason);
    setText(target, one.appliance_id ? "" : `Site ${one.site_id}`);
    setText(link, one.appliance_id ?? "");
    setAttribute(link, "href", one.appliance_id ? `#/appliance/${one.appliance_id}` : null);
    setText(members, one.site_id ? memberWords(one.members) : "");
    setText(times, `${showMinute(one.starts_s)} to ${showMinute(one.ends_s, one.starts_s)}`);
    setText(lasts, `${showDuration(one.ends_s - one.starts_s)}; drained from ${showMinute(one.starts_s - one.drain_ahead_s, one.starts_s)}`);
    state.update(one.state === "planned" && one.refusal ? HELD_BACK : STATES[one.state] ?? { word: plainWords(one.state), tone: "idle", icon: "question" });
    setText(detail, [one.is_late ? "Late" : "", one.is_forced ? "forced" : "", one.detail].filter(Boolean).join("; "));
    setText(planner, one.planned_by);
    setText(plannedAt, showMinute(one.planned_at_s));
    setAttribute(element, "data-window", one.window_id);
  }

  return { element, update };
}
