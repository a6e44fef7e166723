// The chosen theme, before the first paint (a classic script in <head>); without a choice the system's preference holds.
(() => {
  const KEY = "headrace-theme";
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // Storage may be forbidden; the choice then lasts as long as the page.
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function announce() {
    const button = document.getElementById("theme-toggle");
    if (button) {
      const next = isDark() ? "light" : "dark";
      button.setAttribute("aria-label", `Switch to ${next} theme`);
      button.title = `Switch to ${next} theme`;
    }
    document.dispatchEvent(new Event("themechange"));
  }

  const theme = stored();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
  document.addEventListener("DOMContentLoaded", () => {
    announce();
    document.getElementById("theme-toggle")?.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // See above.
      }
      announce();
    });
  });
})();
