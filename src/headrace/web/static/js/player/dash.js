// Plays DASH with dash.js, set so that a dead appliance costs one request and not the buffer.
//
// dash.js repeats a failed request on the same address before it gives the service location up, and then keeps away from
// it for one steering TTL. With no repeats, the next request goes to the next pathway at once.

import { bufferAhead } from "/static/js/player/record.js";

const { dashjs } = window;

const TIMEOUT_LEAST_MS = 2_500;
const TIMEOUT_MOST_MS = 6_000;

/** How long a segment may take: a third of the buffer, so that a server that hangs leaves time for two others. */
export const segmentTimeoutMs = (bufferS) => Math.min(TIMEOUT_MOST_MS, Math.max(TIMEOUT_LEAST_MS, (bufferS * 1_000) / 3));

/** Settings of dash.js; exported so that they can be read in one place. */
export function settings({ bufferGoalS, cmcd, titleId, sessionId }) {
  return {
    debug: { logLevel: dashjs.Debug.LOG_LEVEL_NONE },
    streaming: {
      applyContentSteering: true,
      utcSynchronization: { enabled: false }, // It would ask a time server of a third party; our titles are not live.
      buffer: { bufferTimeDefault: bufferGoalS, bufferTimeAtTopQuality: bufferGoalS, bufferTimeAtTopQualityLongForm: bufferGoalS, bufferToKeep: 30 },
      retryAttempts: { MPD: 2, MediaSegment: 0, InitializationSegment: 0, IndexSegment: 2 },
      retryIntervals: { MPD: 300, MediaSegment: 200, InitializationSegment: 200, IndexSegment: 200 },
      manifestRequestTimeout: 5_000,
      fragmentRequestTimeout: TIMEOUT_LEAST_MS, // Initialization and index; media segments have their own, see below.
      fragmentRequestProgressTimeout: 2_500,
      cmcd: { enabled: cmcd !== "off", mode: cmcd === "header" ? "header" : "query", cid: titleId, sid: sessionId, version: 1 },
    },
  };
}

/** Start to play. `report` takes arrived, rendition, steering, pathways, failed; gives back {throughput, stop}. */
export function play({ video, url, report, startS, ...options }) {
  const player = dashjs.MediaPlayer().create();
  const { events } = dashjs.MediaPlayer;
  const answers = new WeakMap();

  player.updateSettings(settings(options));
  player.addRequestInterceptor((request) => {
    if (request.customData?.request?.type === "MediaSegment") request.timeout = segmentTimeoutMs(bufferAhead(video));
    return Promise.resolve(request);
  });
  player.addResponseInterceptor((response) => {
    const request = response.request?.customData?.request;
    if (request) answers.set(request, { cacheStatus: response.headers?.["cache-status"] ?? "", landed: response.url, status: response.status });
    return Promise.resolve(response);
  });
  player.on(events.FRAGMENT_LOADING_COMPLETED, ({ request, error }) => {
    if (request.type !== "MediaSegment" && !error) return;
    const answer = answers.get(request) ?? {};
    if (error) {
      report.failed({ text: `a segment could not be loaded (${answer.status ? `HTTP ${answer.status}` : "no answer"})`, pathway: request.serviceLocation });
      return;
    }
    const isElsewhere = Boolean(answer.landed) && new URL(answer.landed).host !== new URL(request.url).host;
    report.arrived({
      kind: request.mediaType,
      startS: request.startTime,
      endS: request.startTime + request.duration,
      cacheStatus: answer.cacheStatus,
      pathway: isElsewhere ? new URL(answer.landed).host : request.serviceLocation || new URL(request.url).host,
      redirectedFrom: isElsewhere ? request.serviceLocation : "",
    });
  });
  player.on(events.MANIFEST_LOADED, ({ data }) => report.pathways((data?.BaseURL ?? []).map((base) => base.serviceLocation).filter(Boolean)));
  player.on(events.CONTENT_STEERING_REQUEST_COMPLETED, ({ currentSteeringResponseData: answer, url: source }) => {
    if (answer) report.steering({ ttlS: answer.ttl, priority: answer.pathwayPriority ?? [], clones: (answer.pathwayClones ?? []).map((clone) => clone.ID), url: source });
  });
  player.on(events.QUALITY_CHANGE_RENDERED, ({ mediaType, newRepresentation: one }) => {
    if (mediaType === "video" && one) report.rendition({ bitrateBps: one.bandwidth, height: one.height });
  });
  player.on(events.ERROR, ({ error }) => {
    // A lost segment (27, 28) or index is told above and mended by the next pathway; what is left ends the playback.
    if ([27, 28].includes(error?.code)) return;
    report.failed({ text: error?.message ?? "dash.js stopped", isFatal: true });
  });
  // dash.js must press play itself: it asks the steering server only after a start that it has seen.
  player.initialize(video, url, true, startS > 0 ? startS : NaN);
  return {
    throughput: () => (player.getAverageThroughput("video") || 0) * 1_000,
    stop: () => player.destroy(),
  };
}
