// Keys, and going from case to case without waiting. Every page works without this file: it presses the buttons and
// follows the links that are there, and fetches the next case ahead of the key that asks for it.
"use strict";
(() => {
  const body = document.body;
  document.documentElement.classList.add("scripted");
  const keysOn = body.dataset.keysOn === "1";
  const acts = {};
  for (const [act, key] of Object.entries(JSON.parse(body.dataset.keys || "{}"))) acts[key] = act;
  const csrf = body.dataset.csrf;
  let ahead = null; // {main, title}: the next case, in the page and hidden, with its pictures
  let fetching = null;
  let sending = Promise.resolve();

  const main = () => document.getElementById("main");
  const inCase = () => main() && main().dataset.case;
  const find = (selector) => main() && main().querySelector(selector);

  function post(address, fields, options = {}) {
    const data = new URLSearchParams(fields);
    if (!data.has("csrf")) data.set("csrf", csrf);
    return fetch(address, { method: "POST", body: data, credentials: "same-origin", ...options });
  }

  async function parse(response) {
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return { main: page.getElementById("main"), toast: page.getElementById("toast"), title: page.title,
             judging: page.body.className, address: response.url };
  }

  function put(page, address, push) {
    main().replaceWith(page.main);
    if (page.title) document.title = page.title;
    if (page.judging !== undefined) body.className = page.judging;
    if (address) history[push ? "pushState" : "replaceState"](null, "", address);
    page.main.focus({ preventScroll: true });
  }

  function tell(words, isProblem) {
    const toast = document.getElementById("toast");
    const line = document.createElement("p");
    if (isProblem) line.className = "problem";
    line.textContent = words;
    toast.replaceChildren(line);
  }

  function offerUndo(told) {
    const toast = document.getElementById("toast");
    const form = document.createElement("form");
    form.method = "post"; form.action = `/decisions/${told.batch}/undo`; form.className = "undo";
    const secret = document.createElement("input");
    secret.type = "hidden"; secret.name = "csrf"; secret.value = csrf;
    const said = document.createElement("span");
    said.className = "said"; said.textContent = `“${told.words}”, just now`;
    const button = document.createElement("button");
    button.dataset.act = "undo";
    const key = document.createElement("kbd");
    key.textContent = Object.keys(acts).find((one) => acts[one] === "undo") || "z";
    button.append(key, " undo");
    form.append(secret, said, button);
    toast.replaceChildren(form);
  }

  // The next case, while this one is looked at.
  function fetchAhead() {
    if (!inCase() || ahead || fetching) return;
    const besides = main().dataset.case;
    fetching = post("/cases/next", { besides }).then(async (response) => {
      fetching = null;
      if (!response.ok || !/^\/cases\/case_/.test(new URL(response.url).pathname)) return;
      const page = await parse(response);
      if (!page.main || !page.main.dataset.case || page.main.dataset.case === (main().dataset.case)) return;
      page.main.id = "ahead"; page.main.hidden = true; page.main.inert = true;
      page.main.querySelectorAll("[id]").forEach((one) => { one.dataset.id = one.id; one.removeAttribute("id"); });
      body.append(page.main);
      ahead = page;
    }).catch(() => { fetching = null; });
    return fetching;
  }

  function showAhead() {
    const page = ahead;
    ahead = null;
    page.main.remove();
    page.main.querySelectorAll("[data-id]").forEach((one) => { one.id = one.dataset.id; });
    page.main.id = "main"; page.main.hidden = false; page.main.inert = false;
    put(page, page.main.dataset.address, true);
    window.scrollTo(0, 0);
    return page.main.dataset.address;
  }

  // What ends a case: sent while the next one is on the screen already.
  async function end(form, address, tellDone) {
    const from = location.pathname + location.search;
    const fields = [...new FormData(form)];
    if (fetching) await fetching;
    const shown = ahead ? showAhead() : null;
    sending = sending.then(() => post(address, fields, { headers: { accept: "application/json" } }))
      .then(async (response) => {
        const told = await response.json().catch(() => ({ error: "the answer was not understood" }));
        if (!response.ok) throw new Error(told.error);
        tellDone(told);
        if (shown) await post(`${shown}/shown`, {});
        else location.assign("/cases");
        fetchAhead();
      })
      .catch((error) => {
        tell(`Not done: ${error.message} `, true);
        const back = document.createElement("a");
        back.href = from; back.textContent = "back to that case";
        document.querySelector("#toast p").append(back);
      });
    return sending;
  }

  async function follow(address) {
    const response = await fetch(address, { credentials: "same-origin" });
    const page = await parse(response);
    if (page.main) put(page, address, false); else location.assign(address);
  }

  async function weigh(word) {
    const form = find("#answers");
    const fields = [...new FormData(form)].filter(([name]) => !["only", "hit", "shown", "view"].includes(name));
    fields.push(["word", word], ["hit", current().dataset.hit]);
    if (revealed()) fields.push(["shown", "clear"]);
    if (isWhole()) fields.push(["view", "whole"]);
    marked().forEach((one) => fields.push(["only", one.dataset.hit]));
    const response = await post(form.getAttribute("action"), fields);
    const page = await parse(response);
    if (page.main && response.ok) put(page, response.url, false);
    else location.reload();
  }

  const hits = () => [...main().querySelectorAll("#evidence .hit")];
  const current = () => find("#evidence .hit.current");
  const marked = () => hits().filter((one) => one.classList.contains("marked"));
  const revealed = () => main().dataset.revealed === "1";
  const isWhole = () => main().dataset.whole === "1" || /[?&]view=whole/.test(location.search) && main().dataset.whole !== "0";
  const base = () => main().dataset.address;

  function showPicture() {
    const hit = current();
    const image = find("#found");
    if (!image) return;
    const pair = find(".pair");
    pair.classList.toggle("alone", hit.dataset.picture !== "1");
    if (hit.dataset.picture !== "1") return;
    const how = revealed() ? "clear" : "blurred";
    image.src = `${base()}/hits/${hit.dataset.hit}/${isWhole() ? "whole" : "face"}?shown=${how}`;
    image.alt = revealed() ? "What was found" : "What was found, blurred";
    find("#reveal").hidden = revealed();
    find("#blur").hidden = !revealed();
    find("#found-in").textContent = hit.dataset.item;
  }

  async function showSentence(hit) {
    if (!hit || hit.dataset.sentence !== "1") return;
    const line = hit.querySelector(".sentence");
    if (!line) return;
    const how = revealed() ? "clear" : "masked";
    const response = await fetch(`${base()}/hits/${hit.dataset.hit}/sentence?shown=${how}`, { credentials: "same-origin" });
    if (!response.ok) return;
    const [before, term, after] = await response.json();
    line.querySelector(".before").textContent = before;
    line.querySelector("mark").textContent = term;
    line.querySelector(".after").textContent = after;
  }

  function choose(hit) {
    if (!hit) return;
    const before = current();
    if (before) { before.classList.remove("current"); before.removeAttribute("aria-current"); }
    hit.classList.add("current"); hit.setAttribute("aria-current", "true");
    hit.scrollIntoView({ block: "nearest" });
    main().querySelectorAll(".grid li").forEach((tile) => {
      const link = tile.querySelector("[data-tile]");
      if (link) tile.classList.toggle("current", link.dataset.tile === hit.dataset.hit);
    });
    const reference = find("#reference");
    if (reference && hit.dataset.reference && !reference.src.includes(hit.dataset.reference)) {
      reference.src = `${base()}/references/${hit.dataset.reference}`;
    }
    const wrong = find("#wrong-hit");
    if (wrong) {
      wrong.value = hit.dataset.hit;
      wrong.form.hidden = !hit.dataset.restsOn;
      wrong.form.querySelector("button").textContent =
        `${hit.dataset.restsOn === "alias" ? "This alias is noise" : "This reference is wrong"}: what then?`;
    }
    showPicture();
  }

  function step(by) {
    const all = hits();
    choose(all[Math.min(all.length - 1, Math.max(0, all.indexOf(current()) + by))]);
  }

  function mark(hit) {
    hit.classList.toggle("marked");
    const count = marked().length;
    const all = hits().length;
    find("#scope").textContent = count ? `for ${count} marked hit${count === 1 ? "" : "s"}`
      : all === 1 ? "for this hit" : `for all ${all} hits`;
    main().querySelectorAll(".grid li").forEach((tile) => {
      const link = tile.querySelector("[data-tile]");
      if (link && link.dataset.tile === hit.dataset.hit) tile.classList.toggle("marked");
    });
    if (main().dataset.answer) weigh(main().dataset.answer);
  }

  function reveal(yes) {
    main().dataset.revealed = yes ? "1" : "0";
    showPicture();
    if (current() && current().dataset.sentence === "1") showSentence(current());
    else hits().filter((one) => one.dataset.sentence === "1").slice(0, 12).forEach(showSentence);
    main().querySelectorAll("[data-tile] img").forEach((image) => {
      image.src = image.getAttribute("src").replace(/shown=\w+/, `shown=${yes ? "clear" : "blurred"}`);
    });
  }

  const does = {
    map: () => { const map = document.getElementById("map"); if (map.open) map.close(); else { map.showModal(); document.getElementById("map-close").focus(); } },
    undo: () => { const form = document.querySelector("#toast .undo"); if (form) sending.then(() => form.requestSubmit()); },
    confirm: () => weigh("confirm"),
    reject: () => weigh("reject"),
    unsure: () => weigh("unsure"),
    decide: () => {
      const form = find("#decide");
      if (form) end(form, form.getAttribute("action"), offerUndo);
      else tell("First an answer: same person, not them, or unsure.");
    },
    skip: () => { end(find("#answers"), `${base()}/skip`, (told) => tell(told.words)); },
    next: () => step(1),
    previous: () => step(-1),
    select: () => mark(current()),
    reveal: () => reveal(true),
    blur: () => reveal(false),
    whole: () => { main().dataset.whole = isWhole() ? "0" : "1"; showPicture(); },
    others: () => { const more = find("[data-details=others]"); if (more) more.open = !more.open; },
    note: () => write("note"),
    escalate: () => write("escalate"),
    later_reference: () => turn("later_reference"),
    earlier_reference: () => turn("earlier_reference"),
  };
  const everywhere = ["map", "undo"];

  function write(what) {
    const form = find(`[data-details=${what}]`);
    if (!form) return;
    form.open = true;
    form.querySelector("textarea").focus();
  }

  function turn(act) {
    const link = find(`[data-act=${act}]`);
    if (!link) return;
    const address = new URL(link.href);
    address.searchParams.set("hit", current().dataset.hit);
    if (revealed()) address.searchParams.set("shown", "clear");
    follow(address.pathname + address.search);
  }

  document.addEventListener("keydown", (event) => {
    if (!keysOn || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]") && acts[event.key] !== "map") return;
    if (event.key === "Enter" && target.closest("button, a, summary")) return;
    const act = acts[event.key];
    if (inCase() && /^[1-9]$/.test(event.key) && !act) {
      const reason = find(`[data-reason="${event.key}"]`);
      if (reason) { event.preventDefault(); follow(reason.getAttribute("href")); }
      return;
    }
    if (!act || !(inCase() || everywhere.includes(act))) return;
    if (event.repeat && !["next", "previous"].includes(act)) return;
    event.preventDefault();
    does[act]();
  });

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (event.target.closest("[data-print]")) { window.print(); return; }
    const button = event.target.closest("[data-act]");
    if (button && (everywhere.includes(button.dataset.act) ? button.dataset.act === "map" : inCase()) && does[button.dataset.act]) {
      event.preventDefault();
      does[button.dataset.act]();
      return;
    }
    if (!inCase()) return;
    const hit = event.target.closest("#evidence .hit");
    if (hit && event.target.closest("[data-mark]")) { event.preventDefault(); mark(hit); return; }
    if (hit && event.target.closest("[data-hit-link]")) { event.preventDefault(); choose(hit); return; }
    const tile = event.target.closest("[data-tile]");
    if (tile) { event.preventDefault(); choose(hits().find((one) => one.dataset.hit === tile.dataset.tile)); return; }
    const reason = event.target.closest("[data-reason]");
    if (reason) { event.preventDefault(); follow(reason.getAttribute("href")); }
  });

  // What passes a case on ends it here, as skipping does.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!inCase() || !form.matches("[data-ends]")) return;
    event.preventDefault();
    end(form, form.getAttribute("action"), (told) => tell(told.words));
  });

  // A picture dropped on the form for one.
  const drop = document.querySelector(".drop");
  if (drop) {
    const over = (event) => { event.preventDefault(); drop.classList.add("over"); };
    drop.addEventListener("dragover", over);
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length !== 1) return;
      drop.querySelector("input[type=file]").files = event.dataTransfer.files;
      drop.requestSubmit();
    });
  }

  window.addEventListener("popstate", () => location.reload());
  if (inCase()) { main().focus({ preventScroll: true }); fetchAhead(); }
})();
