// Numbers as people read them. The same scales as headrace.base.units, so that page and terminal say the same.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DECIMAL = ["b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"];
const NONE = "–";

function scaled(value, step, names) {
  let index = 0;
  while (Math.abs(value) >= step && index < names.length - 1) {
    value /= step;
    index += 1;
  }
  return index === 0 ? `${Math.round(value)} ${names[0]}` : `${value.toFixed(1)} ${names[index]}`;
}

/** 1536 -> "1.5 KiB"; null -> "–". */
export const showBytes = (bytes) => (bytes === null || bytes === undefined ? NONE : scaled(bytes, 1024, BINARY));

/** 2500000 -> "2.5 Mb/s"; null -> "–". */
export const showBps = (bps) => (bps === null || bps === undefined ? NONE : scaled(bps, 1000, DECIMAL));

/** 12345 -> "12,345". */
export const showCount = (count) => (count === null || count === undefined ? NONE : count.toLocaleString("en"));

/** 0.923 -> "92%"; never "100%" for less than all. */
export function showRatio(ratio) {
  if (!Number.isFinite(ratio)) return NONE;
  return `${ratio >= 1 ? 100 : Math.min(99, Math.floor(ratio * 100))}%`;
}

/** Seconds as "4 s", "1 min 05 s", "3 h 20 min", "2 d 4 h". */
export function showDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago, in one unit: "4 s ago", "3 min ago". */
export function showAge(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [, step, unit] = [[60, 1, "s"], [3_600, 60, "min"], [172_800, 3_600, "h"], [Infinity, 86_400, "d"]].find(([most]) => whole < most);
  return `${Math.floor(whole / step)} ${unit} ago`;
}

/** Position in a title: 75 -> "1:15". */
export function showPosition(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = `${String(Math.floor(whole / 60) % 60).padStart(whole >= 3600 ? 2 : 1, "0")}:${String(whole % 60).padStart(2, "0")}`;
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${rest}` : rest;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric" });

/** UTC epoch seconds as the viewer's wall clock, "20:31:05". */
export const showClock = (epochS) => CLOCK.format(new Date(epochS * 1000));

/** UTC epoch seconds as "22 Nov 2026, 20:31:05"; today's day is left out. */
export function showInstant(epochS) {
  const day = DAY.format(new Date(epochS * 1000));
  return day === DAY.format(new Date()) ? showClock(epochS) : `${day}, ${showClock(epochS)}`;
}

/** UTC epoch seconds to the minute, as "22 Nov 2026, 20:31"; the day of `besideS` is left out. */
export function showMinute(epochS, besideS = Date.now() / 1000) {
  const [day, beside] = [epochS, besideS].map((one) => DAY.format(new Date(one * 1000)));
  const minute = MINUTE.format(new Date(epochS * 1000));
  return day === beside ? minute : `${day}, ${minute}`;
}
