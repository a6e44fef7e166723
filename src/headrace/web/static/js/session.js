// Signing in: a token from the address's fragment or the form becomes a cookie that scripts cannot read.
// The token itself is never stored, and leaves the address bar at once.

import { ApiError, call, get } from "/static/js/api.js";
import { byId, setShown, setText } from "/static/js/dom.js";

const DEMO_KEY = "headrace-demo-token";
const SIGNED_IN_KEY = "headrace-signed-in";
// Scripts cannot see the cookie; this mark spares a stranger's page a refused request. It is no secret and proves nothing.

/** Whether this browser has signed in and not out again; true when nobody can tell. */
export function isMaybeSignedIn() {
  try {
    return localStorage.getItem(SIGNED_IN_KEY) === "yes";
  } catch {
    return true;
  }
}

function markSignedIn(isSignedIn) {
  try {
    if (isSignedIn) localStorage.setItem(SIGNED_IN_KEY, "yes");
    else localStorage.removeItem(SIGNED_IN_KEY);
  } catch {
    // Then the page asks each time.
  }
}

/** Take `#token=...&demo=...` out of the address bar and give back both (empty when absent). */
export function takeFragment() {
  const fragment = location.hash.slice(1);
  if (fragment.startsWith("/") || !/(^|&)(token|demo)=/.test(fragment)) return { token: "", demo: "" };
  const found = new URLSearchParams(fragment);
  history.replaceState(history.state, "", location.pathname + location.search + (found.get("view") ? `#/${found.get("view")}` : ""));
  return { token: found.get("token") ?? "", demo: found.get("demo") ?? "" };
}

/** Keep the demo's token for this tab: it can do no more than kill and restart the demo's appliances. */
export function keepDemoToken(token) {
  try {
    if (token) sessionStorage.setItem(DEMO_KEY, token);
    return token || sessionStorage.getItem(DEMO_KEY) || "";
  } catch {
    return token;
  }
}

/** Make a session of a token; gives back the role. */
export async function signIn(token) {
  const { role } = await call("POST", "/v1/session", { token });
  markSignedIn(true);
  return role;
}

/** End the session. */
export async function signOut() {
  markSignedIn(false);
  await call("DELETE", "/v1/session");
}

/** The role of the running session; null when there is none. Raises ApiError when control does not answer. */
export async function currentRole() {
  if (!isMaybeSignedIn()) return null;
  try {
    return (await get("/v1/session")).role;
  } catch (error) {
    if (error.status !== 401) throw error;
    markSignedIn(false);
    return null;
  }
}

/** Show the form until a token is accepted; gives back the role. */
export function askForToken(message = "") {
  const panel = byId("sign-in");
  const form = byId("sign-in-form");
  const field = byId("sign-in-token");
  const problem = byId("sign-in-error");
  setText(problem, message);
  setShown(problem, Boolean(message));
  setShown(panel, true);
  field.focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const button = form.querySelector("button[type=submit]");
      button.disabled = true;
      try {
        const role = await signIn(field.value.trim());
        field.value = "";
        setShown(panel, false);
        resolve(role);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        setText(problem, error.status === 401 || error.status === 403 ? `This token is not accepted: ${error.message}` : error.message);
        setShown(problem, true);
        field.focus();
        field.select();
      } finally {
        button.disabled = false;
      }
    };
  });
}
