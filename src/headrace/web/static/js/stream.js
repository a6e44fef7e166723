// The live feed: server-sent events from /v1/stream, reopened when cut, with an honest word on how old the view is.

import { call } from "/static/js/api.js";

const QUIET_MS = 15_000; // No word for this long: ask whether control still answers.
const REOPEN_FIRST_MS = 500;
const REOPEN_MOST_MS = 10_000;

/**
 * Follow the stream until `close()`.
 *
 * `on`: fleet(view), event(view), opened() after each opening, live(), stale(sinceS: when the last word came, UTC epoch seconds), signedOut().
 */
export function follow(on) {
  let source = null;
  let isClosed = false;
  let attempt = 0;
  let lastWordMs = Date.now();
  let timer = 0;

  function heard() {
    lastWordMs = Date.now();
    attempt = 0;
    on.live();
  }

  function open() {
    if (isClosed) return;
    source = new EventSource("/v1/stream");
    source.onopen = () => {
      heard();
      on.opened();
    };
    for (const name of ["fleet", "event"]) {
      source.addEventListener(name, (message) => {
        heard();
        on[name](JSON.parse(message.data));
      });
    }
    source.onerror = cut;
  }

  async function cut() {
    if (isClosed) return;
    source.close();
    clearTimeout(timer);
    on.stale(lastWordMs / 1000);
    // EventSource does not tell a refusal from a cut line; an ordinary request does.
    const isRefused = await call("GET", "/v1/events?limit=1").then(
      () => false,
      (error) => error.status === 401 || error.status === 403,
    );
    if (isClosed) return;
    if (isRefused) {
      close();
      on.signedOut();
      return;
    }
    const wait = Math.min(REOPEN_MOST_MS, REOPEN_FIRST_MS * 2 ** attempt);
    attempt += 1;
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
  }

  const watchdog = setInterval(async () => {
    if (source?.readyState !== EventSource.OPEN || Date.now() - lastWordMs < QUIET_MS) return;
    try {
      on.fleet(await call("GET", "/v1/fleet"));
      heard();
    } catch {
      cut();
    }
  }, 5_000);

  function close() {
    isClosed = true;
    source?.close();
    clearTimeout(timer);
    clearInterval(watchdog);
  }

  open();
  return { close };
}
