// The fleet view: totals, traffic by site over the last minutes, and each site with its appliances.

import { byId, h, reconcile, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showAge, showBps, showBytes, showCount, showRatio } from "/static/js/format.js";
import { SPAN_S, trafficOf } from "/static/js/history.js";
import { bar, cell, chip, tableHead } from "/static/js/parts.js";
import { seriesClass, sparkline, timePlot } from "/static/js/plots.js";
import { adminWords, fillWords, healthWords, reasonWords, siteKindWords } from "/static/js/words.js";

const COLUMNS = {
  name: { label: "Appliance" },
  state: { label: "State" },
  traffic: { label: "Traffic now", isNumber: true },
  connections: { label: "Connections", isNumber: true },
  held: { label: "Held of plan" },
  fill: { label: "Fill" },
  disks: { label: "Disks" },
  age: { label: "Last report", isNumber: true },
};
const ROWS_AT_FIRST = 50;
const SITES_IN_PLOT = 8;

/** The view over `store` ({fleet, history, ageOf}); `update()` after each change, `tick()` each second. */
export function fleetView(store) {
  const sites = new Map();
  let plot = null;
  let plotted = "";
  const filter = { text: "", isTroubleOnly: false };

  byId("fleet-filter").addEventListener("input", (event) => {
    filter.text = event.target.value.trim().toLowerCase();
    update();
  });
  byId("fleet-trouble").addEventListener("change", (event) => {
    filter.isTroubleOnly = event.target.checked;
    update();
  });

  function update() {
    const { fleet } = store;
    if (!fleet) return;
    setShown(byId("fleet-loading"), false);
    setShown(byId("health-held"), fleet.is_health_held);
    setShown(byId("fleet-empty"), fleet.appliances.length === 0);
    setShown(byId("fleet-tools"), fleet.appliances.length > 1);
    showTotals(fleet);
    showPlot(fleet);
    const groups = grouped(fleet).map((group) => ({ ...group, shown: group.appliances.filter((view) => isWanted(view, filter)) }));
    const shown = groups.filter((group) => group.shown.length > 0 || (!filter.text && !filter.isTroubleOnly));
    setShown(byId("fleet-none"), shown.length === 0 && fleet.appliances.length > 0);
    reconcile(byId("sites"), sites, shown, (group) => group.site.site_id, () => siteSection(store));
  }

  function showPlot(fleet) {
    const ids = fleet.sites.map((site) => site.site_id).sort().slice(0, SITES_IN_PLOT);
    if (plotted !== ids.join(" ")) {
      plot?.dispose();
      plotted = ids.join(" ");
      byId("traffic-legend").replaceChildren(...ids.map((id, index) => h("li", { class: seriesClass(index) }, h("span", { class: "swatch" }), h("span", {}, id), h("b", { "data-site": id }))));
      const series = ids.map((id, index) => ({ label: id, colour: index, isFilled: ids.length === 1 }));
      plot = ids.length ? timePlot(byId("traffic-plot"), { label: "Traffic by site over the last minutes", format: showBps, series, spanS: SPAN_S, height: 230 }) : null;
    }
    plot?.update(store.history.bySite(ids));
    const now = store.history.frames.at(-1);
    for (const value of byId("traffic-legend").querySelectorAll("b")) setText(value, showBps(now?.sites.get(value.dataset.site) ?? null));
    setShown(byId("traffic"), ids.length > 0);
  }

  function tick() {
    for (const site of sites.values()) site.tick();
  }

  document.addEventListener("themechange", update);
  return { update, tick };
}

function isWanted(view, filter) {
  if (filter.isTroubleOnly && view.health.state === "healthy" && view.appliance.admin_state === "enabled") return false;
  return !filter.text || `${view.appliance.appliance_id} ${view.appliance.site_id} ${view.health.state}`.toLowerCase().includes(filter.text);
}

function grouped(fleet) {
  const bySite = new Map(fleet.sites.map((site) => [site.site_id, { site, appliances: [] }]));
  for (const view of fleet.appliances) {
    const id = view.appliance.site_id;
    if (!bySite.has(id)) bySite.set(id, { site: { site_id: id, name: "", kind: "", prefixes: [] }, appliances: [] });
    bySite.get(id).appliances.push(view);
  }
  const groups = [...bySite.values()].sort((a, b) => a.site.site_id.localeCompare(b.site.site_id));
  for (const group of groups) group.appliances.sort((a, b) => a.appliance.appliance_id.localeCompare(b.appliance.appliance_id, "en", { numeric: true }));
  return groups;
}

const sum = (views, of) => views.reduce((total, view) => total + (of(view) ?? 0), 0);

function showTotals(fleet) {
  const views = fleet.appliances;
  const believed = views.filter((view) => trafficOf(view) !== null);
  const healthy = views.filter((view) => view.health.state === "healthy").length;
  const held = sum(views, (view) => Math.min(view.holdings_bytes, view.plan_bytes));
  const planned = sum(views, (view) => view.plan_bytes);
  const filling = believed.filter((view) => view.report.fill.state === "filling");
  setTotal("total-traffic", showBps(sum(believed, trafficOf)), `of ${showBps(sum(believed, (view) => view.appliance.capacity_bps))} capacity`);
  setTotal("total-health", `${healthy} of ${views.length}`, troubleWords(views));
  setTotal("total-connections", showCount(sum(believed, (view) => view.report.load.connections)), sessionWords(sum(believed, (view) => view.report.load.sessions)));
  setTotal("total-held", planned ? showRatio(held / planned) : "–", `${showBytes(held)} of ${showBytes(planned)} planned`);
  setTotal("total-fill", showBps(sum(filling, (view) => view.report.fill.rate_bps)), filling.length ? `${filling.length} filling` : "nothing to fill");
  setTotal("total-titles", showCount(fleet.title_count), `${showCount(fleet.file_count)} files, ${showBytes(fleet.total_bytes)}`);
  setAttribute(byId("total-health"), "data-tone", healthy < views.length ? "warn" : null);
}

const sessionWords = (count) => (count === 1 ? "1 session" : `${showCount(count)} sessions`);

function troubleWords(views) {
  const counts = new Map();
  for (const view of views) {
    if (view.health.state !== "healthy") counts.set(view.health.state, (counts.get(view.health.state) ?? 0) + 1);
  }
  return [...counts].map(([state, count]) => `${count} ${healthWords(state).word.toLowerCase()}`).join(", ") || "appliances";
}

function setTotal(id, value, note) {
  const [first, second] = byId(id).querySelectorAll("b, small");
  setText(first, value);
  setText(second, note);
}

function siteSection(store) {
  const rows = new Map();
  let isAll = false;
  let latest = null;
  const name = h("h3");
  const facts = h("p", { class: "quiet" });
  const traffic = h("p", { class: "site-traffic" });
  const body = h("tbody", { role: "rowgroup" });
  const caption = h("caption", { class: "visually-hidden" });
  const table = h("table", { role: "table", class: "cards" }, caption, tableHead(Object.values(COLUMNS)), body);
  const more = h("button", { type: "button", class: "more", hidden: true, on: { click: showAll } });
  const none = h("p", { class: "quiet", hidden: true }, "No appliance has joined this site yet.");
  const element = h("section", { class: "site panel" }, h("header", {}, h("div", {}, name, facts), traffic), table, none, more);

  function showAll() {
    isAll = true;
    update(latest);
  }

  function update(group) {
    latest = group;
    const { site, appliances, shown } = group;
    setText(name, site.name && site.name !== site.site_id ? `${site.name} (${site.site_id})` : site.site_id);
    setText(facts, siteFacts(site, appliances));
    setText(traffic, showBps(sum(appliances, trafficOf)));
    setText(caption, `Appliances of site ${site.site_id}`);
    setShown(table, shown.length > 0);
    setShown(none, appliances.length === 0);
    const visible = isAll ? shown : shown.slice(0, ROWS_AT_FIRST);
    reconcile(body, rows, visible, (view) => view.appliance.appliance_id, () => applianceRow(store));
    setShown(more, visible.length < shown.length);
    setText(more, `Show all ${shown.length} appliances`);
  }

  return { element, update, tick: () => rows.forEach((row) => row.tick()) };
}

function siteFacts(site, appliances) {
  const healthy = appliances.filter((view) => view.health.state === "healthy").length;
  const prefixes = site.prefixes?.length ?? 0;
  return [
    siteKindWords(site.kind),
    appliances.length ? `${healthy} of ${appliances.length} healthy` : "",
    prefixes === 1 ? site.prefixes[0] : prefixes ? `${prefixes} prefixes` : "no prefixes",
    site.is_last_resort ? "last resort for clients without a route" : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

function applianceRow(store) {
  const link = h("a", { class: "name" });
  const release = h("small");
  const health = chip();
  const admin = chip();
  const reason = h("small");
  const traffic = h("span");
  const spark = sparkline();
  const connections = h("span");
  const held = bar();
  const fillChip = chip();
  const fillNote = h("small");
  const disks = bar();
  const age = h("span");
  const element = h(
    "tr",
    { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, link, release),
    cell(COLUMNS.state, h("span", { class: "chips" }, health.element, admin.element), reason),
    cell(COLUMNS.traffic, h("span", { class: "with-spark" }, spark.element, traffic)),
    cell(COLUMNS.connections, connections),
    cell(COLUMNS.held, held.element),
    cell(COLUMNS.fill, fillChip.element, fillNote),
    cell(COLUMNS.disks, disks.element),
    cell(COLUMNS.age, age),
  );
  let latest = null;

  function update(view) {
    latest = view;
    const { appliance, report } = view;
    const id = appliance.appliance_id;
    setAttribute(link, "href", `#/appliance/${id}`);
    setText(link, id);
    setText(release, report.release.headrace ? `release ${report.release.headrace}` : "release not told");
    showState(view);
    setText(traffic, showBps(trafficOf(view)));
    spark.update(store.history.recent(id));
    setText(connections, trafficOf(view) === null ? "–" : showCount(report.load.connections));
    held.update({ value: view.holdings_count, most: view.plan_count, label: "Held of plan", text: heldWords(view) });
    fillChip.update(fillWords(report.fill.state));
    setText(fillNote, fillNoteWords(report.fill));
    disks.update(diskWords(report.disks));
    tick();
  }

  function showState(view) {
    const wanted = view.appliance.admin_state;
    health.update(healthWords(view.health.state));
    admin.update(adminWords(wanted, view.is_drained));
    setShown(admin.element, wanted !== "enabled");
    setText(reason, reasonWords(view.health.reason));
    setAttribute(reason, "title", view.health.detail || null);
    setAttribute(element, "data-tone", healthWords(view.health.state).tone);
    setAttribute(element, "data-told", trafficOf(view) !== null ? null : "false");
    setAttribute(element, "data-appliance", view.appliance.appliance_id);
  }

  function tick() {
    if (latest) setText(age, latest.last_report_s === null ? "never" : showAge(store.ageOf(latest.last_report_s)));
  }

  return { element, update, tick };
}

/** "headrace 0.1.0, nginx 1.31.0". */
export function releaseWords(release) {
  return [release.headrace && `headrace ${release.headrace}`, release.nginx && `nginx ${release.nginx}`].filter(Boolean).join(", ") || "release not told";
}

function heldWords(view) {
  if (!view.plan_count) return `${showCount(view.holdings_count)}, no plan yet`;
  return `${showCount(view.holdings_count)} of ${showCount(view.plan_count)}`;
}

/** What the fill does beside its state. */
export function fillNoteWords(fill) {
  if (fill.error) return fill.error;
  if (fill.state === "filling") return `${showBps(fill.rate_bps)}, ${showBytes(fill.pending_bytes)} left`;
  return fill.pending_files ? `${showBytes(fill.pending_bytes)} wait` : "";
}

/** What `bar().update` needs for all disks of an appliance. */
export function diskWords(disks) {
  const failed = disks.filter((disk) => !disk.is_ok).length;
  // Folders on one file system share its room: each file system counts once.
  const good = [...new Map(disks.filter((disk) => disk.is_ok).map((disk) => [disk.filesystem || `folder ${disk.folder}`, disk])).values()];
  const total = good.reduce((bytes, disk) => bytes + disk.total_bytes, 0);
  const used = total - good.reduce((bytes, disk) => bytes + disk.free_bytes, 0);
  const text = !disks.length ? "not told" : failed ? `${failed} of ${disks.length} failed` : `${showBytes(total - used)} free`;
  return { value: used, most: total, label: "Disk used", text, isBad: failed > 0 };
}


