// One appliance in a dialog (#/appliance/ID): what is wanted, reported and concluded, its plots, its events, actions.

import { call } from "/static/js/api.js";
import { announce, byId, h, reconcile, setShown, setText } from "/static/js/dom.js";
import { showAge, showBps, showBytes, showCount, showInstant, showRatio } from "/static/js/format.js";
import { eventLine } from "/static/js/events.js";
import { diskWords, fillNoteWords, releaseWords } from "/static/js/fleet.js";
import { SPAN_S, trafficOf } from "/static/js/history.js";
import { bar, chip, definitions } from "/static/js/parts.js";
import { timePlot } from "/static/js/plots.js";
import { adminWords, fillWords, healthWords, reasonWords } from "/static/js/words.js";

// The failure budget may be overruled; the refusal says so, in the words of the API.
const FORCE_HINT = /; to do it all the same, use --force, or is_forced in the API$/;

const ACTIONS = {
  enabled: { verb: "Enable", says: "It may be given clients again as soon as it is healthy." },
  draining: { verb: "Drain", says: "New sessions go elsewhere; running ones finish. Nothing is cut." },
  disabled: { verb: "Disable", says: "It is given no more clients and must pass its turn-up checks again before it serves. Drain it first to cut nobody." },
};

/** The dialog over `store` ({fleet, history, events, role, ageOf}); `open(id)`, `update()`, `close()`. */
export function applianceDialog(store) {
  const dialog = byId("appliance");
  const parts = { health: chip(), admin: chip(), held: bar() };
  const recent = new Map();
  let current = "";
  let plots = [];

  byId("appliance-state").append(parts.health.element, parts.admin.element);
  dialog.addEventListener("close", () => {
    stopPlots();
    current = "";
    if (location.hash.startsWith("#/appliance/")) location.hash = "#/";
  });
  byId("appliance-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // A click beside the panel.
  });
  const actions = actionForm(store, () => current);

  function open(id) {
    if (current === id && dialog.open) return;
    stopPlots();
    current = id;
    setText(byId("appliance-name"), id);
    actions.reset();
    if (!dialog.open) dialog.showModal();
    plots = [
      timePlot(byId("appliance-traffic"), { label: `Traffic of ${id} over the last minutes`, format: showBps, series: [{ label: "traffic", colour: 0, isFilled: true }], height: 120, spanS: SPAN_S }),
      timePlot(byId("appliance-connections"), { label: `Connections of ${id} over the last minutes`, format: (value) => String(Math.round(value)), series: [{ label: "connections", colour: 2 }], height: 120, spanS: SPAN_S }),
    ];
    update();
  }

  function stopPlots() {
    for (const plot of plots) plot.dispose();
    plots = [];
  }

  function update() {
    if (!current || !store.fleet) return;
    const view = store.fleet.appliances.find((one) => one.appliance.appliance_id === current);
    setShown(byId("appliance-missing"), !view);
    setShown(byId("appliance-body"), Boolean(view));
    if (!view) return;
    parts.health.update(healthWords(view.health.state));
    parts.admin.update(adminWords(view.appliance.admin_state, view.is_drained));
    setText(byId("appliance-reason"), reasonSentence(view));
    definitions(byId("appliance-facts"), facts(view, store, parts));
    showDisks(view.report.disks);
    const [times, traffic, connections] = store.history.ofAppliance(current);
    plots[0]?.update([times, traffic]);
    plots[1]?.update([times, connections]);
    const events = store.events.filter((event) => event.subject === `appliance/${current}`).slice(0, 8);
    reconcile(byId("appliance-events"), recent, events, (event) => event.event_id, eventLine);
    setShown(byId("appliance-no-events"), events.length === 0);
    actions.update(view);
  }

  return {
    open,
    update,
    close() {
      if (dialog.open) dialog.close();
    },
  };
}

function reasonSentence(view) {
  const { health } = view;
  const since = health.since_s ? `, since ${showInstant(health.since_s)}` : "";
  return `${reasonWords(health.reason)}${health.detail ? `: ${health.detail}` : ""}${since}.`;
}

function facts(view, store, parts) {
  const { appliance, report } = view;
  const isTold = trafficOf(view) !== null;
  parts.held.update({
    value: view.holdings_count,
    most: view.plan_count,
    label: "Held of plan",
    text: `${showCount(view.holdings_count)} of ${showCount(view.plan_count)} files, ${showBytes(view.holdings_bytes)} of ${showBytes(view.plan_bytes)}`,
  });
  const fill = fillWords(report.fill.state);
  const address = /^https?:/.test(appliance.content_url) ? appliance.content_url : "not given";
  return [
    ["Site", appliance.site_id],
    ["Content address", address],
    ["Last report", view.last_report_s === null ? "never" : showAge(store.ageOf(view.last_report_s))],
    ["Traffic now", isTold ? `${showBps(report.load.tx_bps)} of ${showBps(appliance.capacity_bps)} (${showRatio(report.load.tx_bps / appliance.capacity_bps)})` : "not known"],
    ["Requests", isTold ? `${report.load.requests_per_s.toFixed(1)} a second` : "not known"],
    ["Sessions", isTold ? showCount(report.load.sessions) : "not known"],
    ["Processor", isTold ? showRatio(report.load.cpu_ratio) : "not known"],
    ["Held of plan", parts.held.element],
    ["Fill", [fill.word, fillNoteWords(report.fill)].filter(Boolean).join(": ")],
    ["Filled since start", `${showCount(report.fill.done_files)} files, ${showBytes(report.fill.done_bytes)}`],
    ["Web server", nginxWords(report.nginx)],
    ["Release", [releaseWords(report.release), report.release.kernel && `kernel ${report.release.kernel}`].filter(Boolean).join(", ")],
    ["Turn-up checks", view.health.is_turned_up ? "passed" : turnUpWords(view.turn_up)],
    ["Maintenance", windowWords(view.window)],
  ];
}

function turnUpWords(checks) {
  const open = (checks ?? []).filter((one) => one.state !== "passed");
  if (open.length === 0) return "not passed yet";
  return `${checks.length - open.length} of ${checks.length} passed; ${open.map((one) => `${one.check} ${one.state} (${one.detail})`).join("; ")}`;
}

function windowWords(window) {
  if (!window) return "none planned";
  const times = `${showInstant(window.starts_s)} to ${showInstant(window.ends_s)}`;
  return [`${window.window_id} ${window.state}, ${times}`, window.reason, window.detail].filter(Boolean).join(": ");
}

function nginxWords(nginx) {
  const state = nginx.is_running ? "running" : "not running";
  const restarts = nginx.restarts === 1 ? "1 restart" : `${nginx.restarts} restarts`;
  return [state, restarts, nginx.error].filter(Boolean).join(", ");
}

function showDisks(disks) {
  const body = byId("appliance-disks");
  const rows = body.rowsByFolder ?? (body.rowsByFolder = new Map());
  reconcile(body, rows, disks, (disk) => disk.folder, () => {
    const folder = h("th", { scope: "row", role: "rowheader" });
    const state = chip();
    const used = bar();
    const error = h("small");
    return {
      element: h("tr", { role: "row" }, folder, h("td", { role: "cell", "data-label": "State" }, state.element, error), h("td", { role: "cell", "data-label": "Space" }, used.element)),
      update(disk) {
        setText(folder, disk.folder);
        state.update(disk.is_ok ? { word: "Good", tone: "ok", icon: "check" } : { word: "Failed", tone: "bad", icon: "cross" });
        setText(error, disk.error);
        used.update({ ...diskWords([disk]), isBad: !disk.is_ok, text: disk.is_ok ? `${showBytes(disk.free_bytes)} free of ${showBytes(disk.total_bytes)}` : "not used" });
      },
    };
  });
}

function actionForm(store, currentId) {
  const buttons = byId("appliance-actions");
  const form = byId("action-form");
  const reason = byId("action-reason");
  const problem = byId("action-error");
  const force = byId("action-force");
  let wanted = "";
  let opener = null;

  for (const [state, { verb }] of Object.entries(ACTIONS)) {
    buttons.append(h("button", { type: "button", "data-state": state, class: state === "disabled" ? "danger" : null, on: { click: (event) => ask(state, event.currentTarget) } }, `${verb}…`));
  }
  byId("action-cancel").addEventListener("click", () => reset(true));
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault(); // Only the question is withdrawn, the dialog stays.
      event.stopPropagation();
      reset(true);
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const id = currentId();
    const confirm = byId("action-confirm");
    confirm.disabled = true;
    try {
      const change = { admin_state: wanted, reason: reason.value.trim(), is_forced: byId("action-forced").checked };
      await call("PATCH", `/v1/appliances/${encodeURIComponent(id)}`, change);
      announce(`${ACTIONS[wanted].verb}: ${id} accepted`);
      reset(true);
    } catch (error) {
      setText(problem, error.message.replace(FORCE_HINT, "."));
      setShown(problem, true);
      if (FORCE_HINT.test(error.message)) setShown(force, true);
      reason.focus();
    } finally {
      confirm.disabled = false;
    }
  });

  function ask(state, button) {
    wanted = state;
    opener = button;
    setText(byId("action-title"), `${ACTIONS[state].verb} ${currentId()}?`);
    setText(byId("action-says"), ACTIONS[state].says);
    setText(byId("action-confirm"), ACTIONS[state].verb);
    hideProblem();
    setShown(buttons, false);
    setShown(form, true);
    reason.focus();
  }

  function hideProblem() {
    setShown(problem, false);
    setShown(force, false);
    byId("action-forced").checked = false;
  }

  function reset(isFocused = false) {
    setShown(form, false);
    setShown(buttons, true);
    hideProblem();
    reason.value = "";
    if (isFocused) (opener && !opener.hidden ? opener : byId("appliance-close")).focus();
  }

  function update(view) {
    const may = store.role !== "read";
    setShown(byId("appliance-control"), may);
    for (const button of buttons.children) setShown(button, button.dataset.state !== view.appliance.admin_state);
  }

  return { reset, update };
}
