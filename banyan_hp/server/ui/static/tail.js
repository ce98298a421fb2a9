"use strict";
// New calls on the list of calls: they wait behind a button, or come in at once where the list is followed.

const MOST_WAITING = 200;
const MOST_ROWS = 1000;

function tail(bar) {
  const toggle = bar.querySelector("[data-tail-toggle]");
  const show = bar.querySelector("[data-tail-show]");
  const state = bar.querySelector("[data-tail-state]");
  const rows = document.getElementById("rows");
  let address = new URL(bar.dataset.tail, location.href);
  let waiting = [];
  let more = 0;
  let source = null;

  const followed = () => toggle.getAttribute("aria-pressed") === "true";
  const known = (row) => rows && rows.querySelector(`[data-call="${CSS.escape(row.dataset.call)}"]`);

  function rowOf(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.querySelector("tr");
  }

  function insert() {
    if (!rows) {
      location.reload(); // the page had no calls, and says how to log one
      return;
    }
    for (const row of waiting) if (!known(row)) rows.prepend(row);
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    waiting = [];
    more = 0;
    say();
  }

  function say() {
    const count = waiting.length + more;
    show.hidden = !count;
    show.textContent = count === 1 ? "1 new call" : `${count} new calls`;
    toggle.textContent = followed() ? "Pause" : "Follow live";
  }

  function arrived(event) {
    address.searchParams.set("after", event.lastEventId);
    const row = rowOf(JSON.parse(event.data));
    if (known(row)) return;
    waiting.push(row);
    if (waiting.length > MOST_WAITING) {
      waiting.shift();
      more += 1;
    }
    if (followed()) insert();
    else say();
  }

  function open() {
    source = new EventSource(address);
    source.addEventListener("call", arrived);
    source.addEventListener("open", () => (state.textContent = ""));
    source.addEventListener("error", () => {
      state.textContent = source.readyState === EventSource.CLOSED ? "New calls can't be had; load the page again." : "";
    });
    source.addEventListener("end", (event) => {
      close();
      state.textContent = `New calls are not shown any more: ${JSON.parse(event.data).reason}.`;
    });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-pressed", String(!followed()));
    if (followed() && waiting.length) insert();
    say();
  });
  show.addEventListener("click", insert);
  // A browser has few connections to a server: pages that nobody sees hold none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!source) open();
  });
  bar.hidden = false;
  say();
  if (!document.hidden) open();
}

for (const bar of document.querySelectorAll("[data-tail]")) tail(bar);
