// Runs before the page is shown, so that it does not flash in the other colours.
"use strict";
try {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* storage is switched off: the system decides */ }
