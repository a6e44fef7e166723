// The fleet page: signs in, follows the stream, and shows one view after the address's fragment.

import { applianceDialog } from "/static/js/appliance.js";
import { announce, byId, setAttribute, setIcon, setShown, setText } from "/static/js/dom.js";
import { eventsView, loadEvents, merged } from "/static/js/events.js";
import { fleetView } from "/static/js/fleet.js";
import { showClock } from "/static/js/format.js";
import { History } from "/static/js/history.js";
import { missesPanel } from "/static/js/misses.js";
import { offloadPanel } from "/static/js/offload.js";
import { routesView } from "/static/js/routes.js";
import { askForToken, currentRole, keepDemoToken, signIn, signOut, takeFragment } from "/static/js/session.js";
import { follow } from "/static/js/stream.js";
import { titlesView } from "/static/js/titles.js";
import { windowsPanel } from "/static/js/windows.js";
import { healthWords, reasonWords } from "/static/js/words.js";

const VIEWS = ["fleet", "titles", "routes", "events"];

const store = {
  fleet: null,
  events: [],
  role: "",
  history: new History(),
  clockOffsetS: 0,
  /** Seconds since `epochS` by the server's clock. */
  ageOf: (epochS) => Date.now() / 1000 + store.clockOffsetS - epochS,
};

const fleet = fleetView(store);
const windows = windowsPanel();
const offload = offloadPanel();
const misses = missesPanel();
const titles = titlesView(store);
const routes = routesView(store);
const events = eventsView(store);
const appliance = applianceDialog(store);
let stream = null;

function takeFleet(view) {
  tellChanges(store.fleet, view);
  store.fleet = view;
  store.clockOffsetS = view.now_s - Date.now() / 1000;
  store.history.add(view);
  fleet.update();
  appliance.update();
  if (currentView() === "titles") titles.load();
}

function takeEvent(event) {
  store.events = merged(store.events, [event]);
  events.update();
  appliance.update();
  if (event.kind.startsWith("maintenance.")) windows.load({ isForced: true });
  if (event.kind.startsWith("title.")) titles.load({ isForced: true });
  if (event.kind.startsWith("route-session.") && currentView() === "routes") routes.load({ isForced: true });
}

function tellChanges(before, after) {
  if (!before) return;
  const states = new Map(before.appliances.map((view) => [view.appliance.appliance_id, view.health.state]));
  const changed = after.appliances.filter((view) => (states.get(view.appliance.appliance_id) ?? view.health.state) !== view.health.state);
  if (changed.length) announce(changed.map((view) => `${view.appliance.appliance_id}: ${healthWords(view.health.state).word}, ${reasonWords(view.health.reason)}`).join(". "));
}

function showLive(isLive, sinceS) {
  const status = byId("live");
  const isNew = status.dataset.state !== (isLive ? "live" : "stale");
  setAttribute(status, "data-state", isLive ? "live" : "stale");
  setIcon(status.querySelector("svg"), isLive ? "wave" : "warning");
  setText(byId("live-words"), isLive ? "Live" : `Stale since ${showClock(sinceS)}`);
  setAttribute(document.body, "data-stale", isLive ? null : "true");
  setShown(byId("stale"), !isLive);
  if (!isLive && isNew) setText(byId("stale-words"), `No word from the control plane since ${showClock(sinceS)}. What you see is as it was then; trying again.`);
}

function currentView() {
  const name = location.hash.replace(/^#\/?/, "").split("/")[0];
  return VIEWS.includes(name) ? name : "fleet";
}

function route() {
  const view = currentView();
  for (const name of VIEWS) {
    setShown(byId(`view-${name}`), name === view);
    setAttribute(byId(`nav-${name}`), "aria-current", name === view ? "page" : null);
  }
  document.title = `${{ fleet: "Fleet", titles: "Titles", routes: "Routes", events: "Events" }[view]} · Headrace`;
  if (view === "titles" && stream) titles.load();
  if (view === "routes" && stream) routes.load({ isForced: true });
  const [, kind, id] = location.hash.split("/");
  if (kind === "appliance" && id && stream) appliance.open(decodeURIComponent(id));
  else appliance.close();
}

async function start(role) {
  store.role = role;
  setShown(byId("content"), true);
  setShown(byId("session"), true);
  stream?.close();
  stream = follow({
    fleet: takeFleet,
    event: takeEvent,
    opened: catchUp,
    live: () => showLive(true),
    stale: (sinceS) => showLive(false, sinceS),
    signedOut: () => leave("Your session has ended. Sign in again."),
  });
  route();
}

/** The stream tells what happens from now on; what was before, also while it was cut, is asked for. */
async function catchUp() {
  windows.load({ isForced: true });
  offload.load({ isForced: true });
  misses.load({ isForced: true });
  titles.load({ isForced: true });
  const loaded = await loadEvents().catch(() => []);
  store.events = merged(store.events, loaded); // read only now: the stream may have brought some meanwhile
  events.update();
  appliance.update();
}

async function leave(message) {
  stream?.close();
  stream = null;
  appliance.close();
  setShown(byId("content"), false);
  setShown(byId("session"), false);
  setShown(byId("stale"), false);
  await start(await askForToken(message));
}

async function begin() {
  const { token, demo } = takeFragment();
  keepDemoToken(demo);
  try {
    const role = token ? await signIn(token) : await currentRole();
    await start(role ?? (await askForToken()));
  } catch (error) {
    await start(await askForToken(error.message));
  }
}

byId("sign-out").addEventListener("click", async () => {
  await signOut().catch(() => null);
  leave("You have signed out.");
});
// A token that arrives in an open page's address (a printed link, clicked again) is taken as at the start.
addEventListener("hashchange", () => (/^#(token|demo)=/.test(location.hash) ? begin() : route()));
setInterval(() => {
  fleet.tick();
  if (stream && currentView() === "fleet") {
    windows.load();
    offload.load();
    misses.load();
  }
  if (stream && currentView() === "routes") routes.load(); // the stream does not tell of routes
}, 1_000);
begin();
