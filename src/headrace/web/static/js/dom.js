// Building and changing the page. Text goes in as text only: nothing here reads HTML from data.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element. `props`: attributes by name; `on` holds listeners; null, undefined and false leave an attribute out.
 * Children are nodes or text; null, undefined and false are left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      setAttribute(element, name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set or remove an attribute, touching the page only when it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Set an element's text, touching the page only when it differs (so that selections and readers stay undisturbed). */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide an element. */
export function setShown(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** An icon of icons.svg; it is decoration, so the words beside it must say the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("viewBox", "0 0 16 16");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** Change the icon that `icon` made. */
export function setIcon(svg, name) {
  setAttribute(svg.firstElementChild, "href", `/static/icons.svg#${name}`);
}

/**
 * Keep `parent`'s children equal to `items`, one per key, made once and updated in place, so that focus stays.
 *
 * Args: `rows` is a Map of key to row that the caller keeps; a row is {element, update(item)}.
 */
export function reconcile(parent, rows, items, keyOf, makeRow) {
  const seen = new Set();
  let cursor = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = rows.get(key);
    if (!row) {
      row = makeRow(item);
      rows.set(key, row);
    }
    seen.add(key);
    row.update?.(item);
    if (row.element === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(row.element, cursor);
  }
  for (const [key, row] of rows) {
    if (!seen.has(key)) {
      row.element.remove();
      row.dispose?.();
      rows.delete(key);
    }
  }
}

/** Say something to screen readers, politely. */
export function announce(text) {
  const region = byId("announcer");
  if (region) region.textContent = text;
}
