// Offload on the fleet page: which share of bytes stayed in the clients' own site, by hour and over the last day.

import { get } from "/static/js/api.js";
import { byId, h, setShown, setText } from "/static/js/dom.js";
import { showAge, showBytes, showRatio } from "/static/js/format.js";
import { seriesClass } from "/static/js/plots.js";
import { allBytes, HEADLINE_HOURS, ofHeadline, ofPlot, RELOAD_MS, sharesOf, sharesPlot, showShare } from "/static/js/shares.js";

/** What the page tells apart, of the tiers that are counted; `always` stands there also when it served nothing. */
const GROUPS = [
  { name: "own", label: "own site", names: ["own"], always: true },
  { name: "embedded", label: "other embedded sites", names: ["embedded"] },
  { name: "peering", label: "peering", names: ["private-peering", "public-peering"], always: true },
  { name: "origin", label: "origin", names: ["origin-side", "fetched-through"], always: true },
  { name: "unknown", label: "home not known", names: ["no-home", "unknown"] },
];

/** The panel; `load()` asks the API, at most once a minute unless told to. */
export function offloadPanel() {
  let loadedMs = 0;
  const plot = sharesPlot(byId("offload-plot"), { label: "Share of bytes by who served them, by hour of the last two days", max: 1 });

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
    const hours = ofPlot((summary?.hours ?? []).map(({ hour, bytes_by_tier }) => ({ hour, bytes: bytes_by_tier })));
    const isTold = allBytes(hours) > 0;
    setShown(byId("offload"), true);
    setShown(byId("offload-hint"), summary === null);
    setShown(byId("offload-told"), isTold);
    setShown(byId("offload-plot"), isTold);
    setShown(byId("offload-old"), !isTold && summary !== null);
    if (!isTold) return;
    const shares = sharesOf(ofHeadline(hours), GROUPS);
    const shown = sharesOf(hours, GROUPS).filter((group) => group.always || group.bytes > 0).map((group) => group.name);
    setText(byId("offload-own"), showRatio(shares[0].ratio));
    const rest = shares.filter((group) => shown.includes(group.name));
    byId("offload-shares").replaceChildren(
      ...rest.map((group, index) => h("li", { class: seriesClass(index), "data-group": group.name }, h("span", { class: "swatch" }), h("span", {}, group.label), h("b", {}, showShare(group.ratio)))),
    );
    setText(byId("offload-note"), `Last ${HEADLINE_HOURS} hours, ${showBytes(allBytes(ofHeadline(hours)))}, counted ${showAge(Date.now() / 1_000 - summary.made_s)}.`);
    plot.update(hours, GROUPS.filter((group) => shown.includes(group.name)));
  }

  return { load };
}
