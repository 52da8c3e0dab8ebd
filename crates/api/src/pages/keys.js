"use strict";
// A key presses what bears it: `data-key`. Once for a page, and not before one has had the time to see what it is about:
// who presses twice by mistake labels nothing unseen.
const SEEN_AFTER_MS = 250;
const shownAt = performance.now();
let isPressed = false;
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping || isPressed) {
    return;
  }
  // On a keyboard of another script the key is known by its place.
  const isLatin = /^[ -~]$/.test(event.key);
  const key = isLatin ? event.key.toLowerCase() : event.code.replace(/^(Key|Digit)/, "").toLowerCase();
  const pressed = key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (pressed && performance.now() - shownAt >= SEEN_AFTER_MS) {
    event.preventDefault();
    isPressed = true;
    pressed.click();
  }
});
// A page that comes back from the browser's memory can be pressed again.
addEventListener("pageshow", () => { isPressed = false; });
