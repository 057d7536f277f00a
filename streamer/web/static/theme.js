// Runs before anything is drawn: the theme chosen here last time, else the system's.
"use strict";
try {
  const theme = localStorage.getItem("streamer-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // storage may be forbidden
}
