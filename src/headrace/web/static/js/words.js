// States and reasons in words, each with an icon and a tone; colour never speaks alone.

const HEALTH = {
  healthy: { word: "Healthy", tone: "ok", icon: "check" },
  "turning-up": { word: "Turning up", tone: "info", icon: "rise" },
  unhealthy: { word: "Unhealthy", tone: "warn", icon: "warning" },
  lost: { word: "Lost", tone: "bad", icon: "cross" },
  unknown: { word: "Unknown", tone: "idle", icon: "question" },
};

const ADMIN = {
  enabled: { word: "Enabled", tone: "ok", icon: "check" },
  draining: { word: "Draining", tone: "info", icon: "drain" },
  disabled: { word: "Disabled", tone: "idle", icon: "off" },
};

const REASONS = {
  "all-checks-pass": "All checks pass",
  "never-reported": "Has never reported",
  "no-report": "No longer reports",
  "probe-failed": "Our own probe of a held file fails",
  "nothing-held": "Holds no file yet",
  "nginx-down": "Its web server is down",
  "all-disks-failed": "All its disks have failed",
  recovering: "Good again, but not yet for long enough",
  filling: "Holds too little of its plan yet",
  "not-probed": "No probe of ours has fetched from it yet",
  "reports-frozen": "Its reports no longer change",
  disabled: "Kept out by an operator or a maintenance window",
  "no-quorum": "Silent, but too few control nodes are there to say that it is lost",
  "bad-path": "Healthy: most control nodes reach it, some do not",
  "counters-frozen": "Serves and reports, but its counters stand still: its load is not known",
  "disk-off": "Answers, but not with files that it says it holds: a disk is off",
  "no-routes": "Has BGP sessions and hears no route yet",
  "not-verified": "No whole file has been fetched from it and checked yet",
  "operator-asked": "An operator asked",
  "held-last-state": "Last state kept: most of the fleet seems lost at once",
};

const FILL = {
  idle: { word: "Idle", tone: "ok", icon: "check" },
  filling: { word: "Filling", tone: "info", icon: "fill" },
  waiting: { word: "Waits for its window or its peers", tone: "info", icon: "fill" },
  "no-source": { word: "No source answers", tone: "warn", icon: "warning" },
  "disk-full": { word: "Disk full", tone: "warn", icon: "warning" },
};

const KINDS = {
  embedded: "embedded in the network",
  "private-peering": "private peering",
  "public-peering": "public peering",
  "origin-side": "beside the origin",
};

const plain = (text) => {
  const words = String(text).replaceAll("-", " ").replaceAll("_", " ").replaceAll(".", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
};
const unknown = (key) => ({ word: plain(key), tone: "idle", icon: "question" });

/** {word, tone, icon} of a concluded health state. */
export const healthWords = (state) => HEALTH[state] ?? unknown(state);

/** {word, tone, icon} of what is wanted; a drained appliance has its own word. */
export function adminWords(state, isDrained) {
  if (state === "draining" && isDrained) return { word: "Drained", tone: "info", icon: "drain" };
  return ADMIN[state] ?? unknown(state);
}

/** {word, tone, icon} of a fill state. */
export const fillWords = (state) => FILL[state] ?? unknown(state);

/** A reason, or an event's kind, as a sentence. */
export const reasonWords = (reason) => REASONS[reason] ?? plain(reason);

/** How a site reaches its clients. */
export const siteKindWords = (kind) => KINDS[kind] ?? plain(kind);

const EVENT_ICONS = { appliance: "server", site: "pin", title: "film", fleet: "wave", token: "key" };

/** {word, icon} of an event: "appliance.health-changed" is "Appliance health changed". */
export function eventWords(kind) {
  return { word: plain(kind), icon: EVENT_ICONS[kind.split(".")[0]] ?? "dot" };
}

/** A key as words: "too-long" -> "Too long". */
export const plainWords = plain;
