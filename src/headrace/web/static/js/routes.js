// The routes view: what networks announce to appliances, and what of it does not fit. One table, chosen by what is asked.

import { get } from "/static/js/api.js";
import { byId, h, setAttribute, setShown, setText } from "/static/js/dom.js";
import { showCount, showDuration, showInstant } from "/static/js/format.js";
import { cell, chip, tableHead } from "/static/js/parts.js";
import { plainWords } from "/static/js/words.js";

const PAGE = 100;
const RELOAD_MS = 30_000; // all but sessions cost the control plane work when tables are large
const TYPING_MS = 300;

const STANDINGS = {
  established: { word: "Counts", tone: "ok", icon: "check" },
  relearning: { word: "Kept while it learns", tone: "info", icon: "rise" },
  held: { word: "Kept for a while", tone: "warn", icon: "warning" },
  withdrawn: { word: "Withdrawn", tone: "bad", icon: "cross" },
  waiting: { word: "Nothing yet", tone: "idle", icon: "question" },
  "over-limit": { word: "Over its limit", tone: "bad", icon: "cross" },
  disabled: { word: "Disabled", tone: "idle", icon: "off" },
};
const DAMPED = { word: "Damped", tone: "warn", icon: "warning" };

const number = (label, of) => ({ label, isNumber: true, of });
const text = (label, of, small) => ({ label, of, small });
const origin = (row) => (row.origin_as ? `AS${row.origin_as}` : "none");
const reason = (row) => (row.reason ? plainWords(row.reason) : "");
const WHERE = [text("Site", (row) => row.site_id), text("Appliance", (row) => row.appliance_id), text("Session", (row) => row.session_id)];
const ROUTE = [
  text("Prefix", (row) => row.prefix),
  ...WHERE,
  text("AS path", (row) => row.as_path || `${row.path_length} hops`, (row) => row.communities),
  number("MED", (row) => String(row.med)),
  text("Since", (row) => row.learned_s === null ? "" : showInstant(row.learned_s)),
  text("Not counted", reason),
];

/** What can be asked: title, address, columns of a row, words when there is none. */
const REPORTS = {
  sessions: {
    title: "Sessions",
    unit: ["session", "sessions"],
    reloadMs: 5_000,
    none: "No appliance has told of a BGP session. Table [bgp] of an agent's settings names its peers.",
    columns: [
      ...WHERE.slice(0, 2),
      text("Session", (row) => row.session_id, (row) => `AS${row.peer_as}, ${row.state} since ${showInstant(row.since_s)}`),
      { label: "Routes", of: standing, small: (row) => row.detail },
      number("Prefixes", (row) => showCount(row.prefixes) + (row.most_prefixes ? ` of ${showCount(row.most_prefixes)}` : "")),
      number("Filtered", (row) => showCount(row.filtered)),
      number("Drops", (row) => showCount(row.drops)),
    ],
  },
  imbalance: {
    title: "Imbalance inside sites",
    unit: ["uneven prefix", "uneven prefixes"],
    none: "The members of each site hear the same.",
    rows: (answer) => [...answer.rows.filter((row) => row.problem), ...answer.prefixes],
    columns: [
      text("Site", (row) => row.site_id),
      text("What", (row) => row.prefix ?? row.family),
      text("Member", (row) => row.appliance_id ?? `heard by ${row.heard_by.join(", ")}`),
      text("Problem", (row) => (row.problem ? plainWords(row.problem) : `missing at ${row.missing_at.join(", ")}`)),
      number("Hears", (row) => (row.heard === undefined ? "" : showCount(row.heard))),
      number("Misses", (row) => (row.missing === undefined ? "" : showCount(row.missing))),
    ],
  },
  single: {
    title: "No second site",
    unit: ["prefix", "prefixes"],
    none: "Each prefix has a second site.",
    columns: [text("Prefix", (row) => row.prefix), text("Only at site", (row) => row.site_id)],
  },
  leaks: {
    title: "Beyond their scope",
    none: "No route is beyond its scope, as table [routes.leaks] of the settings tells it.",
    columns: [
      text("Prefix", (row) => row.prefix),
      ...WHERE,
      text("Why", (row) => plainWords(row.reason)),
      number("Hops", (row) => String(row.path_length)),
      text("Origin", origin),
    ],
  },
  filtered: { title: "Filtered", none: "All routes that are heard count.", columns: ROUTE },
  prefixes: { title: "All routes", none: "No route fits.", columns: ROUTE },
  changes: {
    title: "Changes of the last hour",
    unit: ["change", "changes"],
    none: "Nothing has changed in the last hour.",
    query: () => ({ since: Math.max(0, Math.floor(Date.now() / 1000) - 3_600) }),
    columns: [
      text("Prefix", (row) => row.prefix),
      ...WHERE,
      text("What", (row) => plainWords(row.kind)),
      number("Hops", (row) => String(row.path_length)),
      number("MED", (row) => String(row.med)),
      text("Learned", (row) => row.learned_s === null ? "" : showInstant(row.learned_s)),
    ],
  },
};

/** The view over `store` ({ageOf}); `load()` asks the API, at most every few seconds unless told to. */
export function routesView(store) {
  const state = { report: "sessions", find: "", offset: 0, total: 0 };
  const table = byId("routes-table");
  let loadedMs = 0;
  let asked = 0;
  let typing = 0;
  for (const [name, report] of Object.entries(REPORTS)) byId("routes-report").append(h("option", { value: name }, report.title));

  const turn = (change, delayMs = 0) => {
    Object.assign(state, change);
    clearTimeout(typing);
    typing = setTimeout(() => load({ isForced: true }), delayMs);
  };
  byId("routes-report").addEventListener("change", (event) => turn({ report: event.target.value, offset: 0 }));
  byId("routes-find").addEventListener("input", (event) => turn({ find: event.target.value.trim(), offset: 0 }, TYPING_MS));
  byId("routes-back").addEventListener("click", () => state.offset && turn({ offset: Math.max(0, state.offset - PAGE) }));
  byId("routes-on").addEventListener("click", () => state.offset + PAGE < state.total && turn({ offset: state.offset + PAGE }));

  function address(more) {
    const query = new URLSearchParams({ ...REPORTS[state.report].query?.(), ...found(state.find), ...more });
    return `/v1/routes/${state.report}?${query}`;
  }

  /** A word is a prefix or the id of an appliance or site: the fleet says which. */
  function found(word) {
    if (!word) return {};
    if (/[.:/]/.test(word) && /\d/.test(word)) return { prefix: word };
    return store.fleet?.sites.some((site) => site.site_id === word) ? { site: word } : { appliance: word };
  }

  async function load({ isForced = false } = {}) {
    if (!isForced && Date.now() - loadedMs < (REPORTS[state.report].reloadMs ?? RELOAD_MS)) return;
    loadedMs = Date.now();
    asked += 1;
    const own = asked;
    const report = REPORTS[state.report];
    try {
      const answer = await get(address({ limit: PAGE, offset: state.offset }));
      if (own !== asked) return; // Something else is asked for by now.
      state.total = answer.total;
      setShown(byId("routes-error"), false);
      show(report, report.rows?.(answer) ?? answer.rows);
      setText(byId("routes-count"), words(answer));
      const hasRpki = Boolean(answer.rpki_state) && answer.rpki_state !== "off";
      setText(byId("routes-rpki"), hasRpki ? rpkiWords(answer) : "");
      setShown(byId("routes-rpki"), hasRpki);
    } catch (error) {
      setText(byId("routes-error"), error.message);
      setShown(byId("routes-error"), true);
    }
  }

  function show(report, rows) {
    table.replaceChildren(h("caption", { class: "visually-hidden" }, report.title), tableHead(report.columns), h("tbody", { role: "rowgroup" }, ...rows.map((row) => line(report, row, store))));
    setText(byId("routes-empty"), report.none);
    setShown(byId("routes-empty"), rows.length === 0);
    setShown(table, rows.length > 0);
    setShown(byId("routes-pages"), state.total > PAGE);
    setAttribute(byId("routes-back"), "aria-disabled", state.offset ? null : "true");
    setAttribute(byId("routes-on"), "aria-disabled", state.offset + PAGE < state.total ? null : "true");
    setAttribute(byId("routes-csv"), "href", address({ limit: 10_000, format: "csv" }));
  }

  function words(answer) {
    const last = Math.min(state.total, state.offset + PAGE);
    const range = state.total > PAGE ? `${showCount(state.offset + 1)} to ${showCount(last)} of ` : "";
    const reasons = Object.entries(answer.counts ?? {}).filter(([name]) => name);
    const filtered = reasons.map(([name, count]) => `${showCount(count)} ${plainWords(name).toLowerCase()}`).join(", ");
    const [one, many] = REPORTS[state.report].unit ?? ["route", "routes"];
    return `${range}${showCount(state.total)} ${state.total === 1 ? one : many}${filtered ? `; not counted: ${filtered}` : ""}`;
  }

  return { load };
}

function rpkiWords(answer) {
  const what = `RPKI data: ${plainWords(answer.rpki_state).toLowerCase()}, ${showCount(answer.rpki_count)} payloads`;
  return answer.rpki_error ? `${what}. ${answer.rpki_error}` : what;
}

function standing(row, store) {
  const sign = chip();
  const base = row.is_damped ? DAMPED : STANDINGS[row.standing];
  const left = row.until_s ? `, ${showDuration(Math.max(0, -store.ageOf(row.until_s)))} left` : "";
  sign.update({ ...base, word: base.word + left });
  return sign.element;
}

function line(report, row, store) {
  const cells = report.columns.map((column, place) => {
    const small = column.small?.(row);
    const inside = [column.of(row, store), small && h("small", {}, small)];
    return place === 0 ? h("th", { role: "rowheader", scope: "row" }, h("span", { class: "name" }, inside[0])) : cell(column, ...inside);
  });
  return h("tr", { role: "row" }, ...cells);
}
