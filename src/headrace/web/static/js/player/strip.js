// The strip under the video: which appliance served each moment of the title, coloured and labelled.

import { h, reconcile, setAttribute, setText } from "/static/js/dom.js";
import { showPosition } from "/static/js/format.js";
import { pathwayWords } from "/static/js/player/record.js";
import { seriesClass } from "/static/js/plots.js";

/** Give each pathway a colour, in order of appearance. */
export class Palette {
  constructor() {
    this.names = [];
  }

  indexOf(name) {
    const index = this.names.indexOf(name);
    return index >= 0 ? index : this.names.push(name) - 1;
  }
}

/** Merge parts [{startS, endS, pathway}] (a later one lies over an earlier) into runs of one pathway, in media order. */
export function runs(parts) {
  let placed = [];
  for (const part of parts) {
    const kept = [];
    for (const one of placed) {
      if (one.endS <= part.startS || one.startS >= part.endS) kept.push(one);
      else {
        if (one.startS < part.startS) kept.push({ ...one, endS: part.startS });
        if (one.endS > part.endS) kept.push({ ...one, startS: part.endS });
      }
    }
    placed = [...kept, { ...part }];
  }
  const merged = [];
  for (const one of placed.sort((a, b) => a.startS - b.startS)) {
    const last = merged.at(-1);
    if (last && last.pathway === one.pathway && one.startS - last.endS < 0.2) last.endS = one.endS;
    else merged.push({ ...one });
  }
  return merged;
}

/** The strip in `parent`; `update({parts, durationS, currentTime})`. */
export function strip(parent, palette) {
  const track = h("div", { class: "strip-track" });
  const head = h("div", { class: "strip-head" });
  const box = h("div", { class: "strip", role: "img" }, track, head);
  const start = h("span", {}, "0:00");
  const end = h("span");
  const rows = new Map();
  parent.append(box, h("div", { class: "strip-scale quiet", "aria-hidden": "true" }, start, end));

  return {
    update({ parts, durationS, currentTime }) {
      const length = Math.max(1, durationS);
      const pieces = runs(parts);
      setText(end, showPosition(durationS));
      head.style.left = `${Math.min(100, (currentTime / length) * 100)}%`;
      setAttribute(box, "aria-label", pieces.map((one) => `${pathwayWords(one.pathway)} from ${showPosition(one.startS)} to ${showPosition(one.endS)}`).join(", ") || "Nothing has been loaded yet");
      reconcile(track, rows, pieces, (one) => `${one.pathway} ${one.startS.toFixed(1)}`, (one) => {
        const label = h("span", {}, pathwayWords(one.pathway));
        const element = h("div", { class: `strip-run ${seriesClass(palette.indexOf(one.pathway))}` }, label);
        return {
          element,
          update({ startS, endS }) {
            element.style.left = `${(startS / length) * 100}%`;
            element.style.width = `${((endS - startS) / length) * 100}%`;
            setAttribute(element, "title", `${pathwayWords(one.pathway)}: ${showPosition(startS)} to ${showPosition(endS)}`);
          },
        };
      });
    },
  };
}
