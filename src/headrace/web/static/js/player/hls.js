// Plays HLS with hls.js, set so that a dead appliance costs one request and not the buffer.
//
// hls.js answers a failed request by another rendition of the same pathway first, and goes to another pathway only when
// all renditions have failed; with a host that hangs, each costs a time-out. PathwayFirst turns that round.

const { Hls } = window;

const NETWORK_FAILURES = new Set(["fragLoadError", "fragLoadTimeOut", "levelLoadError", "levelLoadTimeOut", "keyLoadError", "keyLoadTimeOut"]);
const SEND_TO_PENALTY_BOX = 2; // NetworkErrorAction.SendAlternateToPenaltyBox
const WHOLE_PATHWAY = 1; // ErrorActionFlags.MoveAllAlternatesMatchingHost

function pathwayFirst() {
  return class PathwayFirst extends Hls.DefaultConfig.errorController {
    constructor(hls) {
      super(hls);
      // Registered right after the decision about an error is made and before content steering acts on it.
      // Where no other pathway is left, the decision falls back to another rendition by itself.
      hls.on(Hls.Events.ERROR, (_name, data) => {
        const action = data.errorAction;
        const isRendition = action?.action === SEND_TO_PENALTY_BOX && action.flags === 0;
        if (isRendition && !data.fatal && NETWORK_FAILURES.has(data.details) && hls.pathways.length > 1) action.flags = WHOLE_PATHWAY;
      });
    }
  };
}

function policy({ firstByteMs, wholeMs, retries }) {
  const retry = { maxNumRetry: retries, retryDelayMs: 200, maxRetryDelayMs: 1_000 };
  return { default: { maxTimeToFirstByteMs: firstByteMs, maxLoadTimeMs: wholeMs, errorRetry: retry, timeoutRetry: { ...retry, maxNumRetry: 0 } } };
}

/** Settings of hls.js; exported so that they can be read in one place. */
export function settings({ bufferGoalS, cmcd, titleId, sessionId, startS }) {
  return {
    errorController: pathwayFirst(),
    enableWorker: false, // Fragmented MP4 is passed through; a blob worker would need a wider security policy.
    maxBufferLength: bufferGoalS,
    maxMaxBufferLength: bufferGoalS,
    backBufferLength: 30,
    startPosition: startS > 0 ? startS : -1,
    manifestLoadPolicy: policy({ firstByteMs: 4_000, wholeMs: 8_000, retries: 2 }),
    playlistLoadPolicy: policy({ firstByteMs: 2_500, wholeMs: 5_000, retries: 0 }),
    fragLoadPolicy: policy({ firstByteMs: 2_500, wholeMs: 20_000, retries: 0 }),
    steeringManifestLoadPolicy: policy({ firstByteMs: 3_000, wholeMs: 5_000, retries: 1 }),
    cmcd: cmcd === "off" ? undefined : { sessionId, contentId: titleId, useHeaders: cmcd === "header" },
  };
}

/** Start to play. `report` takes arrived, rendition, steering, pathways, failed; gives back {throughput, stop}. */
export function play({ video, url, report, ...options }) {
  const hls = new Hls(settings(options));
  const pathwayOfHost = new Map();
  const { Events } = Hls;

  function learn(levels) {
    for (const level of levels) {
      const id = level.attrs?.["PATHWAY-ID"];
      const address = Array.isArray(level.url) ? level.url[0] : level.url;
      if (id && address) pathwayOfHost.set(new URL(address, url).host, id);
    }
    report.pathways([...new Set(pathwayOfHost.values())]);
  }
  const pathwayOf = (address) => (address ? pathwayOfHost.get(new URL(address, url).host) ?? new URL(address, url).host : undefined);

  hls.on(Events.MANIFEST_LOADED, (_name, data) => learn(data.levels));
  hls.on(Events.LEVELS_UPDATED, (_name, data) => learn(data.levels));
  hls.on(Events.STEERING_MANIFEST_LOADED, (_name, { steeringManifest, url: source }) =>
    report.steering({ ttlS: steeringManifest.TTL, priority: steeringManifest["PATHWAY-PRIORITY"] ?? [], clones: (steeringManifest["PATHWAY-CLONES"] ?? []).map((clone) => clone.ID), url: source }),
  );
  hls.on(Events.FRAG_LOADED, (_name, { frag, networkDetails }) => {
    if (frag.sn === "initSegment") return;
    const landed = networkDetails?.responseURL;
    const asked = pathwayOf(frag.url);
    report.arrived({
      kind: frag.type === "main" ? "video" : frag.type,
      startS: frag.start,
      endS: frag.start + frag.duration,
      // Reading a header that CORS does not expose makes browsers complain in the console, so it is looked up first.
      cacheStatus: headerOf(networkDetails, "cache-status"),
      pathway: landed ? pathwayOf(landed) : asked,
      redirectedFrom: landed && pathwayOf(landed) !== asked ? asked : "",
    });
  });
  hls.on(Events.LEVEL_SWITCHED, (_name, data) => {
    const level = hls.levels[data.level];
    if (level) report.rendition({ bitrateBps: level.bitrate, height: level.height });
  });
  hls.on(Events.ERROR, (_name, data) => {
    if (data.details === Hls.ErrorDetails.INTERNAL_ABORTED) return;
    const status = data.response?.code ? `HTTP ${data.response.code}` : "no answer";
    const text = data.type === Hls.ErrorTypes.NETWORK_ERROR ? `${wordsOf(data.details)} (${/TimeOut/.test(data.details) ? "too slow" : status})` : data.details;
    report.failed({ text, pathway: pathwayOf(data.frag?.url ?? data.context?.url), isFatal: data.fatal });
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play().catch(() => null); // Browsers may refuse to start with sound; the controls are there.
  return {
    throughput: () => hls.bandwidthEstimate || 0,
    stop: () => hls.destroy(),
  };
}

function wordsOf(details) {
  if (details.startsWith("frag")) return "a segment could not be loaded";
  if (details.startsWith("level") || details.includes("Track")) return "a playlist could not be loaded";
  if (details.startsWith("manifest")) return "the master playlist could not be loaded";
  return details;
}

function headerOf(xhr, name) {
  const line = xhr?.getAllResponseHeaders?.().split("\r\n").find((one) => one.toLowerCase().startsWith(`${name}:`));
  return line ? line.slice(name.length + 1) : "";
}
