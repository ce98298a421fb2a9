"use strict";
// Keys, and forms that send themselves. Pages work without it.

const search = document.querySelector("[data-search]");
if (search && location.hash === "#search") search.focus();

const rows = () => Array.from(document.querySelectorAll("[data-row]"));

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  next.querySelector("a, button, input").focus();
}

function isTyping(target) {
  return target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "/") {
    event.preventDefault();
    if (search) search.focus();
    else location.assign("/calls#search");
  } else if (event.key === "j") {
    move(1);
  } else if (event.key === "k") {
    move(-1);
  } else if (event.key === "?") {
    document.getElementById("keys").showModal();
  } else {
    const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (button) button.click();
  }
});

async function copy(source) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  }
  getSelection().selectAllChildren(source); // over plain HTTP browsers give no clipboard to scripts
  return document.execCommand("copy");
}

document.addEventListener("click", async (event) => {
  const copied = event.target.closest("[data-copy]");
  if (!copied) return;
  const source = document.getElementById(copied.dataset.copy);
  copied.textContent = (await copy(source)) ? "Copied" : "Press Ctrl+C";
});

for (const form of document.querySelectorAll("form[data-submit]")) form.requestSubmit();

document.addEventListener("input", (event) => {
  const row = event.target.closest("tr");
  const slider = row && row.querySelector("[data-slides]");
  const exact = row && row.querySelector("input[type=number]");
  if (!slider || !exact) return;
  if (event.target === slider) exact.value = slider.value;
  if (event.target === exact) slider.value = exact.value || "0";
});
