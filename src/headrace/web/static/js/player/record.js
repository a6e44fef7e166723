// What happened in one playback: who served what, switches with their reason, rebuffers, errors. Knows no player.

const ERROR_EXPLAINS_S = 20; // An error this short before a switch is named as its reason.
const KEPT_MOST = 500;

/** Seconds of media ahead of the playhead; a gap shorter than a frame or two does not end it. */
export function bufferAhead(video) {
  const { buffered, currentTime } = video;
  for (let index = 0; index < buffered.length; index += 1) {
    if (currentTime >= buffered.start(index) - 0.3 && currentTime < buffered.end(index)) return buffered.end(index) - currentTime;
  }
  return 0;
}

/**
 * Who really served an answer: the first member of Cache-Status (RFC 9211) names the appliance; an answer without one
 * is told by its pathway. Gives "" when nobody can tell.
 */
export function servedBy({ cacheStatus, pathway }) {
  const name = /^\s*"?([A-Za-z0-9_.-]+)"?/.exec(cacheStatus ?? "")?.[1];
  return name || pathway || "";
}

/** A pathway as people read it: steering names the origin "_origin". */
export const pathwayWords = (name) => name.replace(/^_/, "");

/** The record of one playback; `window.headracePlayer` shows it to browser tests. */
export class Record {
  constructor(video, player) {
    this.video = video;
    this.state = {
      player,
      currentTime: 0,
      durationS: 0,
      isPlaying: false,
      bufferS: 0,
      /** Least buffer since playing began; a rebuffer makes it 0. */
      bufferLeastS: null,
      pathway: "",
      pathways: [],
      bitrateBps: 0,
      throughputBps: 0,
      rendition: "",
      rebuffers: 0,
      steering: null,
      switches: [],
      errors: [],
    };
    /** Parts of the media and who served them: [{startS, endS, pathway}], in order of arrival. */
    this.parts = [];
    this.hasPlayed = false;
    this.listeners = new AbortController();
    const listen = (name, handle) => video.addEventListener(name, handle, { signal: this.listeners.signal });
    listen("playing", () => {
      this.hasPlayed = true;
    });
    listen("waiting", () => this.waits());
  }

  /** A part of the media has arrived. Gives back the switch that it shows, if any. */
  arrived({ kind, startS, endS, cacheStatus, pathway, redirectedFrom }) {
    const server = servedBy({ cacheStatus, pathway });
    if (kind !== "video" || !server) return null;
    this.parts.push({ startS, endS, pathway: server });
    if (this.parts.length > KEPT_MOST) this.parts.shift();
    const from = this.state.pathway;
    this.state.pathway = server;
    if (!from || from === server) return null;
    const change = {
      atS: Date.now() / 1000,
      from,
      to: server,
      positionS: this.video.currentTime,
      bufferS: bufferAhead(this.video),
      reason: this.reasonOf(from, redirectedFrom),
    };
    this.state.switches.push(change);
    return change;
  }

  reasonOf(from, redirectedFrom) {
    if (redirectedFrom) return `${redirectedFrom} did not hold the file and sent us on`;
    const error = this.state.errors.findLast((one) => one.pathway === from && Date.now() / 1000 - one.atS < ERROR_EXPLAINS_S);
    if (error) return `${from}: ${error.text}`;
    const priority = this.state.steering?.priority ?? [];
    if (priority.length && priority[0] !== from) return "steering prefers it now";
    return "the player's choice";
  }

  /** A request failed; the player may well mend it. */
  failed({ text, pathway = this.state.pathway, isFatal = false }) {
    this.state.errors.push({ atS: Date.now() / 1000, text, pathway, isFatal });
    if (this.state.errors.length > KEPT_MOST) this.state.errors.shift();
  }

  waits() {
    if (!this.hasPlayed || this.video.seeking || this.video.ended || bufferAhead(this.video) > 0.5) return;
    this.state.rebuffers += 1;
    this.state.bufferLeastS = 0;
  }

  /** Read the video element. */
  measure() {
    const { video, state } = this;
    state.currentTime = video.currentTime;
    state.durationS = Number.isFinite(video.duration) ? video.duration : 0;
    state.isPlaying = !video.paused && !video.ended && video.readyState > 2;
    state.bufferS = bufferAhead(video);
    const isNearEnd = state.durationS > 0 && state.currentTime + state.bufferS > state.durationS - 0.5;
    if (this.hasPlayed && state.isPlaying && !isNearEnd) state.bufferLeastS = Math.min(state.bufferLeastS ?? Infinity, state.bufferS);
  }

  stop() {
    this.listeners.abort();
  }
}
