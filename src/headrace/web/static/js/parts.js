// Small parts that several views share: state chips, progress with words, tables that become cards on a phone.

import { h, icon, setAttribute, setIcon, setText } from "/static/js/dom.js";
import { showRatio } from "/static/js/format.js";

/** A chip with icon and word: {element, update({word, tone, icon})}. */
export function chip() {
  const sign = icon("dot");
  const word = h("span");
  const element = h("span", { class: "chip" }, sign, word);
  return {
    element,
    update(words) {
      setAttribute(element, "data-tone", words.tone);
      setIcon(sign, words.icon);
      setText(word, words.word);
    },
  };
}

/** A bar with its words beside it: {element, update({value, most, words, label, isBad})}. */
export function bar() {
  const progress = h("progress", { max: 1, value: 0 });
  const words = h("span", { class: "bar-words" });
  const element = h("div", { class: "bar" }, words, progress);
  return {
    element,
    update({ value, most, text, label, isBad = false }) {
      setAttribute(progress, "value", most > 0 ? Math.min(1, value / most) : 0);
      setAttribute(progress, "aria-label", `${label}: ${showRatio(value / most)}`);
      setAttribute(progress, "data-tone", isBad ? "bad" : null);
      setText(words, text);
    },
  };
}

/** Head of a table: one column header per entry (text; "" for a column that needs none is not allowed). */
export function tableHead(columns) {
  return h(
    "thead",
    { role: "rowgroup" },
    h("tr", { role: "row" }, ...columns.map((column) => h("th", { role: "columnheader", scope: "col", class: column.isNumber ? "number" : null }, column.label))),
  );
}

/** A cell that carries its column's name for the card layout. */
export function cell(column, ...children) {
  return h("td", { role: "cell", "data-label": column.label, class: column.isNumber ? "number" : null }, ...children);
}

/** Replace the rows of a definition list: [[term, text or node]]; text is changed in place. */
export function definitions(list, entries) {
  const rows = list.rows ?? (list.rows = new Map());
  for (const [term, value] of entries) {
    let row = rows.get(term);
    if (!row) {
      const target = h("dd");
      list.append(h("div", {}, h("dt", {}, term), target));
      row = target;
      rows.set(term, row);
    }
    if (typeof value === "string") setText(row, value);
    else if (row.firstChild !== value) row.replaceChildren(value);
  }
}
