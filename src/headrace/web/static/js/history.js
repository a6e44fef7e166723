// The last minutes of traffic, kept in the page from what the stream told; the server keeps none of it.

export const SPAN_S = 600;
const APPLIANCES_MOST = 300; // Beyond this, only sites are kept: a page is not a monitoring system.

/** Bits per second that an appliance gives clients now; null when its last word is no longer believed. */
export const trafficOf = (view) => (["lost", "unknown"].includes(view.health.state) ? null : view.report.load.tx_bps);

/** Samples of traffic by site and by appliance, oldest first. */
export class History {
  constructor() {
    this.frames = [];
  }

  /** Take in one FleetView. */
  add(fleet) {
    const last = this.frames.at(-1);
    if (last && fleet.now_s <= last.atS) return;
    const sites = new Map();
    const appliances = new Map();
    for (const view of fleet.appliances) {
      const bps = trafficOf(view);
      const site = view.appliance.site_id;
      if (fleet.appliances.length <= APPLIANCES_MOST) appliances.set(view.appliance.appliance_id, { bps, connections: bps === null ? null : view.report.load.connections });
      if (bps !== null) sites.set(site, (sites.get(site) ?? 0) + bps);
    }
    this.frames.push({ atS: fleet.now_s, sites, appliances });
    while (this.frames.length && this.frames[0].atS < fleet.now_s - SPAN_S) this.frames.shift();
  }

  /** uPlot columns: times, then the traffic of each of `siteIds`. */
  bySite(siteIds) {
    return [this.times(), ...siteIds.map((site) => this.frames.map((frame) => frame.sites.get(site) ?? null))];
  }

  /** uPlot columns: times, traffic, connections of one appliance. */
  ofAppliance(applianceId) {
    const values = this.frames.map((frame) => frame.appliances.get(applianceId));
    return [this.times(), values.map((value) => value?.bps ?? null), values.map((value) => value?.connections ?? null)];
  }

  /** The last `count` traffic samples of one appliance. */
  recent(applianceId, count = 60) {
    return this.frames.slice(-count).map((frame) => frame.appliances.get(applianceId)?.bps ?? null);
  }

  times() {
    return this.frames.map((frame) => frame.atS);
  }
}
