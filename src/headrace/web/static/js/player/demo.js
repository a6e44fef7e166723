// The demo's switch: kill and restart appliances. Shown only where the server names a demo helper.

import { ApiError, refusal } from "/static/js/api.js";
import { byId, h, icon, reconcile, setShown, setText } from "/static/js/dom.js";
import { seriesClass } from "/static/js/plots.js";

const TIMEOUT_MS = 15_000;

/** The origin and bare addresses are pathways, but nothing that the demo can kill. */
const isAppliance = (name) => /^[a-z0-9][a-z0-9-]*$/.test(name);

async function post(url, token) {
  let response;
  try {
    response = await fetch(url, { method: "POST", headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError(0, "unreachable", "The demo's helper does not answer; is the demo still running?");
  }
  if (!response.ok) throw refusal(response.status, await response.text());
}

/** The panel; `update(record state)`. `log(text, tone)` takes what was done. */
export function demoPanel({ demoUrl, token, palette, log }) {
  const rows = new Map();
  const killed = new Set();
  let serving = "";
  const button = byId("kill-serving");
  setShown(byId("demo"), Boolean(demoUrl));

  async function act(verb, appliance, pressed) {
    pressed.disabled = true;
    setShown(byId("demo-error"), false);
    try {
      await post(`${demoUrl}/${verb}/${encodeURIComponent(appliance)}`, token);
      if (verb === "kill") killed.add(appliance);
      else killed.delete(appliance);
      log(verb === "kill" ? `You killed ${appliance} (SIGKILL)` : `You restarted ${appliance}`, verb === "kill" ? "bad" : "ok");
    } catch (error) {
      setText(byId("demo-error"), error.message);
      setShown(byId("demo-error"), true);
    } finally {
      pressed.disabled = false;
    }
  }

  button.addEventListener("click", () => serving && act("kill", serving, button));

  return {
    update({ pathway, pathways }) {
      if (!demoUrl) return;
      serving = isAppliance(pathway) ? pathway : "";
      setText(byId("kill-name"), `Kill ${serving}`);
      setShown(button, Boolean(serving));
      const names = [...new Set([...pathways, ...palette.names, ...killed])].filter(isAppliance).sort();
      reconcile(byId("demo-appliances"), rows, names, (name) => name, (name) => {
        const note = h("span", { class: "quiet" });
        const kill = h("button", { type: "button", class: "small danger", "aria-label": `Kill ${name}` }, icon("stop"), "Kill");
        const restart = h("button", { type: "button", class: "small", "aria-label": `Restart ${name}` }, icon("redo"), "Restart");
        kill.addEventListener("click", () => act("kill", name, kill));
        restart.addEventListener("click", () => act("restart", name, restart));
        return {
          element: h("li", { class: seriesClass(palette.indexOf(name)) }, h("span", { class: "swatch" }), h("span", { class: "demo-name" }, h("b", {}, name), note), kill, restart),
          update() {
            setText(note, killed.has(name) ? " killed" : name === serving ? " serves now" : "");
            setShown(kill, !killed.has(name));
            setShown(restart, killed.has(name));
          },
        };
      });
    },
  };
}
