// The player page: chooses title, player and steering node, plays, and shows what serves each moment.

import { get } from "/static/js/api.js";
import { byId, h, icon, setShown, setText } from "/static/js/dom.js";
import { showBps, showClock, showPosition } from "/static/js/format.js";
import { demoPanel } from "/static/js/player/demo.js";
import { pathwayWords, Record } from "/static/js/player/record.js";
import { Palette, strip } from "/static/js/player/strip.js";
import { seriesClass, timePlot } from "/static/js/plots.js";
import { isMaybeSignedIn, keepDemoToken, signIn, takeFragment } from "/static/js/session.js";

const MEASURE_MS = 100;
const PLOT_MS = 500;
const LOG_MOST = 100;
const PLOT_SPAN_S = 120;
const RESTART_FIRST_MS = 1_000;
const RESTART_MOST_MS = 8_000;

const video = byId("video");
const choices = new URLSearchParams(location.search);
const chosen = {
  title: choices.get("title") ?? "",
  steer: (choices.get("steer") ?? "").replace(/\/+$/, ""),
  kind: choices.get("kind") === "dash" ? "dash" : "hls",
  cmcd: ["off", "header"].includes(choices.get("cmcd")) ? choices.get("cmcd") : "query",
  bufferGoalS: Math.min(60, Math.max(6, Number(choices.get("buffer")) || 18)),
};

const palette = new Palette();
const timeline = strip(byId("strip"), palette);
let demo = null;
let record = null;
let engine = null;
let playbackNo = 0;
let plots = [];
let samples = [[], [], []];

function log(text, tone = "") {
  const sign = { bad: "cross", warn: "warning", ok: "check" }[tone] ?? "dot";
  const list = byId("log");
  list.prepend(h("li", { "data-tone": tone }, h("time", {}, showClock(Date.now() / 1000)), icon(sign), h("span", {}, text)));
  if (list.children.length > LOG_MOST) list.lastElementChild.remove();
  setShown(byId("log-empty"), false);
}

function reporter(mine) {
  const isMine = (handle) => (data) => {
    if (record === mine) handle(data);
  };
  return {
    arrived: isMine((part) => {
      const isFirst = !mine.state.pathway;
      const change = mine.arrived(part);
      if (isFirst && mine.state.pathway) log(`${pathwayWords(mine.state.pathway)} serves`, "ok");
      if (change) log(`${pathwayWords(change.from)} → ${pathwayWords(change.to)} at ${showPosition(change.positionS)}, with ${change.bufferS.toFixed(1)} s in the buffer: ${change.reason}`, "warn");
    }),
    rendition: isMine(({ bitrateBps, height }) => {
      mine.state.bitrateBps = bitrateBps;
      mine.state.rendition = height ? `${height}p` : "";
    }),
    pathways: isMine((names) => {
      mine.state.pathways = [...new Set([...mine.state.pathways, ...names])];
    }),
    steering: isMine((answer) => {
      mine.state.steering = { ...answer, atS: Date.now() / 1000 };
      mine.state.pathways = [...new Set([...mine.state.pathways, ...answer.priority])];
    }),
    failed: isMine((error) => {
      mine.failed(error);
      if (error.isFatal) restartAfterFailure(error.text);
    }),
  };
}

let restarts = 0;

function restartAfterFailure(text) {
  const wait = Math.min(RESTART_MOST_MS, RESTART_FIRST_MS * 2 ** restarts);
  const mine = playbackNo;
  restarts += 1;
  log(`Playback stopped: ${text}. Trying again in ${wait / 1000} s.`, "bad");
  showMessage(`Playback stopped: ${text}. Trying again…`);
  setTimeout(() => {
    if (mine === playbackNo) start({ startS: video.currentTime, isAgain: true });
  }, wait);
}

function showMessage(text) {
  setText(byId("message"), text);
  setShown(byId("message"), Boolean(text));
}

async function start({ startS = 0, isAgain = false } = {}) {
  playbackNo += 1;
  const mine = playbackNo;
  engine?.stop();
  engine = null;
  video.pause();
  if (!isAgain) begin();
  if (!chosen.title || !chosen.steer) {
    showMessage(chosen.steer ? "Choose a title." : "Choose a title and give the address of a steering node.");
    return;
  }
  const players = { hls: "/static/js/player/hls.js", dash: "/static/js/player/dash.js" };
  try {
    const { play } = await import(players[chosen.kind]);
    if (mine !== playbackNo) return;
    const manifest = chosen.kind === "hls" ? "master.m3u8" : "manifest.mpd";
    const url = `${chosen.steer}/v1/titles/${encodeURIComponent(chosen.title)}/${manifest}`;
    showMessage("");
    engine = play({ video, url, startS, report: reporter(record), cmcd: chosen.cmcd, titleId: chosen.title, sessionId: crypto.randomUUID?.() ?? `${Date.now()}`, bufferGoalS: chosen.bufferGoalS });
  } catch (error) {
    record.failed({ text: error.message, isFatal: true });
    restartAfterFailure(`the player could not start: ${error.message}`);
  }
}

/** A new playback: nothing of the last one counts. */
function begin() {
  record?.stop();
  restarts = 0;
  record = new Record(video, chosen.kind);
  window.headracePlayer = record.state;
  samples = [[], [], []];
  document.title = `${chosen.title || "Player"} · Headrace`;
}

function measure() {
  if (!record) return;
  record.measure();
  if (engine) record.state.throughputBps = engine.throughput();
  if (record.state.isPlaying && record.state.bufferS > 5) restarts = 0;
}

function show() {
  if (!record) return;
  const { state } = record;
  setText(byId("serving-name"), pathwayWords(state.pathway) || "nobody yet");
  byId("serving").className = `serving ${state.pathway ? seriesClass(palette.indexOf(state.pathway)) : ""}`;
  setText(byId("stat-buffer"), `${state.bufferS.toFixed(1)} s`);
  setText(byId("stat-rendition"), state.rendition ? `${state.rendition}` : "–");
  setText(byId("stat-bitrate"), state.bitrateBps ? showBps(state.bitrateBps) : "–");
  setText(byId("stat-throughput"), state.throughputBps ? showBps(state.throughputBps) : "–");
  setText(byId("stat-rebuffers"), String(state.rebuffers));
  setText(byId("stat-switches"), String(state.switches.length));
  showSteering(state.steering);
  timeline.update({ parts: record.parts, durationS: state.durationS, currentTime: state.currentTime });
  demo?.update(state);
}

function showSteering(steering) {
  setShown(byId("steering-none"), !steering);
  setShown(byId("steering-facts"), Boolean(steering));
  if (!steering) return;
  const ageS = Math.round(Date.now() / 1000 - steering.atS);
  setText(byId("steering-age"), `${ageS} s ago, good for ${steering.ttlS} s`);
  const key = steering.priority.join(" ");
  const list = byId("steering-priority");
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...steering.priority.map((name) => h("li", { class: seriesClass(palette.indexOf(name)) }, h("span", { class: "swatch" }), pathwayWords(name))));
  }
  setText(byId("steering-clones"), steering.clones.length ? `Joined since the start: ${steering.clones.map(pathwayWords).join(", ")}` : "");
}

function plot() {
  if (!record) return;
  const { state } = record;
  const nowS = Date.now() / 1000;
  const next = [nowS, state.bufferS, state.bitrateBps || null];
  samples.forEach((column, index) => column.push(next[index]));
  while (samples[0][0] < nowS - PLOT_SPAN_S) samples.forEach((column) => column.shift());
  plots[0].update([samples[0], samples[1]]);
  plots[1].update([samples[0], samples[2]]);
}

function remember() {
  const query = new URLSearchParams();
  for (const [name, value] of [["title", chosen.title], ["steer", chosen.steer], ["kind", chosen.kind], ["cmcd", chosen.cmcd]]) if (value) query.set(name, value);
  if (choices.get("buffer")) query.set("buffer", choices.get("buffer"));
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

function bindForm() {
  const form = byId("choices");
  form.elements.kind.value = chosen.kind;
  form.elements.cmcd.value = chosen.cmcd;
  form.elements.steer.value = chosen.steer;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    chosen[target.name] = target.name === "steer" ? target.value.trim().replace(/\/+$/, "") : target.value;
    remember();
    const isSameTitle = target.name !== "title";
    start({ startS: isSameTitle ? video.currentTime : 0 });
  });
  byId("loop").addEventListener("change", ({ target }) => {
    video.loop = target.checked;
  });
}

async function loadTitles() {
  const select = byId("choices").elements.title;
  const known = isMaybeSignedIn() ? await get("/v1/titles?newest=true").catch(() => null) : null;
  const titles = (known ?? []).map((view) => view.title).sort((a, b) => a.name.localeCompare(b.name));
  if (chosen.title && !titles.some((title) => title.title_id === chosen.title)) titles.unshift({ title_id: chosen.title, name: chosen.title });
  if (!chosen.title && titles.length) chosen.title = titles[0].title_id;
  select.replaceChildren(...titles.map((title) => h("option", { value: title.title_id, selected: title.title_id === chosen.title }, title.name || title.title_id)));
  setShown(byId("titles-note"), known === null);
}

async function openPage() {
  const { token, demo: demoToken } = takeFragment();
  plots = [
    timePlot(byId("plot-buffer"), { label: "Buffer length over the last two minutes", format: (value) => `${value} s`, series: [{ label: "buffer", colour: 0, isFilled: true }], height: 130, spanS: PLOT_SPAN_S }),
    timePlot(byId("plot-bitrate"), { label: "Bit rate of the rendition shown over the last two minutes", format: showBps, series: [{ label: "bit rate", colour: 3, isStepped: true }], height: 130, spanS: PLOT_SPAN_S }),
  ];
  bindForm();
  // What the address names is played without waiting for the control plane, which may be down.
  const isComplete = Boolean(chosen.title && chosen.steer);
  if (isComplete) start();
  else begin();
  setInterval(measure, MEASURE_MS);
  setInterval(show, MEASURE_MS * 2);
  setInterval(plot, PLOT_MS);
  if (token) await signIn(token).catch((error) => log(`Not signed in: ${error.message}`, "warn"));
  const ui = await get("/ui.json").catch(() => ({ demo_url: "", steering_urls: [] }));
  demo = demoPanel({ demoUrl: ui.demo_url, token: keepDemoToken(demoToken), palette, log });
  byId("steering-urls").replaceChildren(...ui.steering_urls.map((url) => h("option", { value: url })));
  if (!chosen.steer) chosen.steer = ui.steering_urls[0] ?? "";
  byId("choices").elements.steer.value = chosen.steer;
  await loadTitles();
  remember();
  if (!isComplete) await start();
}

openPage();
