// What runs in the page: HTML of the app put in place, presses reported to Python, editors opened in place, the list folded, the view kept at the end.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } };

  // --- the app's HTML, which comes as base64 and is parsed here and nowhere else -----------------------------------------
  // An element is made anew from the lists below, so what is not on them never enters the page. What a model
  // wrote stands inside `.prose` or `.pane-text`: there only what Markdown makes of text is let in.
  const KEY = "{{KEY}}";
  const listed = (names) => new Set(names.split(" "));
  const TAGS = listed("a b blockquote br button caption code del details div em h1 h2 h3 h4 h5 h6 hr i li mark nav ol p pre progress s section small span strong summary table tbody td th thead tr ul");
  const PROSE_TAGS = listed("a blockquote br button code em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong table tbody td th thead tr ul");
  const SVG_TAGS = listed("circle line path svg");
  const MATH_TAGS = listed("annotation math mfrac mi mn mo mover mroot mrow mspace msqrt msub msubsup msup mtext munder munderover semantics");
  const ATTRIBUTES = listed("class colspan disabled id max open role start title value");
  const SVG_ATTRIBUTES = listed("aria-hidden class cx cy d fill height r stroke stroke-linecap stroke-linejoin stroke-width viewBox width x1 x2 y1 y2");
  const MATH_ATTRIBUTES = listed("display encoding linethickness width");
  const PROSE_ATTRIBUTES = listed("start title");
  const DATA = listed("data-conversation data-raw data-shown data-turn");
  const PROSE_CLASSES = listed("caret cite dots formula no-picture");
  const STYLE = /^(?:height|left|width|text-align): ?[\w.%]+$/;
  const SVG = "http://www.w3.org/2000/svg", MATH = "http://www.w3.org/1998/Math/MathML";
  const controls = new WeakSet(); // the elements that the app drew to be pressed; no other is obeyed

  function copyAttributes(from, to, prose) {
    const svg = from.namespaceURI === SVG, math = from.namespaceURI === MATH, control = from.dataset.key === KEY;
    for (const { name, value } of from.attributes) {
      const plain = svg ? SVG_ATTRIBUTES.has(name)
        : math ? MATH_ATTRIBUTES.has(name)
        : prose && !control ? PROSE_ATTRIBUTES.has(name) || (name === "class" && PROSE_CLASSES.has(value))
        : ATTRIBUTES.has(name) || DATA.has(name) || name.startsWith("aria-");
      const own = control && name.startsWith("data-") && name !== "data-key";
      if (plain || own || (name === "style" && STYLE.test(value))) to.setAttribute(name, value);
    }
    if (control) controls.add(to);
    if (from.localName === "button") to.type = "button";
    if (from.localName === "a" && /^https?:$/.test(URL.canParse(from.href) && new URL(from.href).protocol)) {
      to.href = from.href;
      to.target = "_blank";
      to.rel = "noopener noreferrer nofollow";
    }
  }

  function rebuild(from, to, prose = false) {
    for (const node of from.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      const svg = node.namespaceURI === SVG, math = node.namespaceURI === MATH, name = node.localName;
      const allowed = svg ? !prose && SVG_TAGS.has(name) : math ? MATH_TAGS.has(name) : (prose ? PROSE_TAGS : TAGS).has(name);
      if (!allowed || (prose && name === "button" && node.dataset.key !== KEY)) {
        console.error(`Not an element of this page: ${name}`);
        to.append(node.textContent);
        continue;
      }
      const element = svg || math ? document.createElementNS(node.namespaceURI, name) : document.createElement(name);
      copyAttributes(node, element, prose);
      rebuild(node, element, prose || node.matches(".prose, .pane-text"));
      to.append(element);
    }
  }

  function render(place) {
    const [key, encoded] = place.title.split(".");
    place.removeAttribute("title");
    place.className = "html";
    if (key !== KEY) return void reloadIfRestarted(key);
    const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
    const template = document.createElement("template"); // nothing in it runs or loads
    template.innerHTML = new TextDecoder().decode(bytes);
    const made = document.createDocumentFragment();
    rebuild(template.content, made);
    place.replaceChildren(made);
  }

  async function reloadIfRestarted(key) {
    const script = await (await fetch("/chatlab/page.js")).text();
    if (key && script.includes(`const KEY = "${key}"`)) location.reload();
  }

  function renderIn(root) {
    if (root.matches(".encoded-html")) render(root);
    else root.querySelectorAll(".encoded-html").forEach(render);
    root.querySelectorAll(".toast-message-text").forEach(flatten);
  }

  // Gradio's own errors quote what was chosen, as HTML.
  function flatten(toast) {
    if (toast.children.length && !$(":scope > .html", toast)) toast.textContent = toast.textContent;
  }

  // --- to Python -----------------------------------------------------------------------------------------------------
  function report(to, said) {
    const box = $(`#bridge-${to} textarea, #bridge-${to} input`), go = $(`#bridge-${to}-go`);
    if (!box || !go) return;
    box.value = JSON.stringify({ ...said, at: Date.now() });
    box.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => go.click(), 0);
  }

  const local = { edit: openEditor, copy: copyText, rename: openRename, cite: openSource, reload: () => location.reload() };

  function press(button) {
    const { to, ...said } = button.dataset;
    if (local[said.act]) return local[said.act](button);
    if (said.act === "like" || said.act === "dislike") button.classList.toggle("on");
    if (said.act === "earlier") fromEnd = { height: $("#scroll").scrollHeight, top: $("#scroll").scrollTop };
    if (said.act === "open" && innerWidth < 900) fold("side", false);
    report(to || "chat", said);
    if (said.show) show(said.show);
  }

  function unfold(label) {
    if (label?.isConnected && !label.classList.contains("open")) label.click();
  }

  // A component of a tab that is about to open: unfolded, in the middle of the view, with the keyboard.
  function show(id, left = 40) {
    const place = document.getElementById(id);
    if (place?.closest("#panel")) fold("panel", true);
    if (!place?.offsetParent) {
      if (left) setTimeout(() => show(id, left - 1), 100);
      return;
    }
    const label = $(":scope > .label-wrap", place);
    unfold(label);
    setTimeout(() => unfold(label), 600); // a tab that opens for the first time may be drawn once more
    place.scrollIntoView({ block: label ? "start" : "center" });
    place.classList.add("shown-now");
    setTimeout(() => place.classList.remove("shown-now"), 1900);
    (place.matches("button") ? place : $("textarea, input:not([type=range]), button", place))?.focus({ preventScroll: true });
  }

  function controlAround(element) {
    while (element && !controls.has(element)) element = element.parentElement;
    return element;
  }

  document.addEventListener("click", (event) => {
    const target = controlAround(event.target);
    if (!target || target.disabled) {
      if (innerWidth < 900 && !event.target.closest("#side, #panel")) { fold("side", false); fold("panel", false); }
      return;
    }
    if (target.dataset.act) press(target);
    else if (target.dataset.press) $(`#${CSS.escape(target.dataset.press)}`)?.click();
    else if (target.dataset.fold) fold(target.dataset.fold);
    else switchTheme();
  });

  // --- keys ----------------------------------------------------------------------------------------------------------
  const typing = (element) => element.closest("input:not([type=checkbox],[type=range],[type=radio]), textarea, [contenteditable]");

  // --- the Models panel: over the page until it is closed, by its button, Escape or a press beside it -------------------
  const modelsOpen = () => $("#models")?.offsetHeight > 0;

  function closeModels() {
    report("models", { act: "close" });
    $("#bar .chip.model")?.focus();
  }

  document.addEventListener("click", (event) => {
    if (!event.isTrusted) return; // a press that is reported clicks a button of its own, outside the panel
    if (modelsOpen() && event.target.isConnected && !event.target.closest("#models, .chip.model, .toast-wrap, [role=listbox]")) closeModels();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && modelsOpen()) return closeModels();
    if (event.key === "Escape" && !event.target.closest(".editor, .renaming")) $("#composer .stop-button")?.click();
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "/") { event.preventDefault(); $("#composer textarea")?.focus(); return; }
    if (!/^[a-z0-9]$/i.test(event.key)) return;
    const shown = [...document.querySelectorAll(`.key-${event.key.toLowerCase()}`)].find((b) => b.offsetParent && !b.closest(".html"));
    if (shown) { event.preventDefault(); (shown.matches("button") ? shown : $("button", shown))?.click(); }
  });

  // --- editing in place ----------------------------------------------------------------------------------------------
  let editing = null; // {turn, text}: survives a redraw of the page around it

  // What is stored, for what is shown has marks in place of some characters.
  const storedText = (element) => JSON.parse(element.dataset.raw);

  function openEditor(button) {
    const turn = button.closest(".turn");
    showEditor(turn, storedText(turn));
  }

  function showEditor(turn, text) {
    const body = $(".body", turn), answer = turn.classList.contains("answer");
    if ($(".editor", turn)) return;
    editing = { turn: turn.dataset.turn, text };
    const editor = document.createElement("div");
    editor.className = "editor";
    const area = document.createElement("textarea");
    area.value = storedText(turn);
    const opened = area.value; // a text box has its own ends of lines
    area.value = text;
    area.setAttribute("aria-label", answer ? "Edited answer" : "Your message");
    const save = made("button", answer ? "Save and keep as demonstration" : "Resend", "small primary");
    const learn = answer && $(":scope > .foot [data-act=keep], :scope > .foot .kept", turn) ? made("button", "Learn this now", "small") : null;
    const cancel = made("button", "Cancel", "small");
    const row = made("div", "", "row");
    row.append(save, ...(learn ? [learn] : []), cancel);
    editor.append(area, row);
    body.after(editor);
    turn.classList.add("edited");
    const grow = () => { area.style.height = "auto"; area.style.height = `${area.scrollHeight + 2}px`; editing.text = area.value; };
    const close = () => { editing = null; editor.remove(); turn.classList.remove("edited"); };
    const done = (more) => {
      if (!area.value.trim()) return area.focus();
      const said = area.value === opened ? storedText(turn) : area.value;
      report("chat", { act: answer ? "rewrite" : "ask", turn: turn.dataset.turn, text: said, ...more });
      close();
    };
    area.addEventListener("input", grow);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); close(); }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey || (!answer && !event.shiftKey))) { event.preventDefault(); done({}); }
    });
    save.addEventListener("click", () => done({}));
    learn?.addEventListener("click", () => done({ learn: true }));
    cancel.addEventListener("click", close);
    grow();
    area.focus();
  }

  function made(name, text, kind) {
    const element = document.createElement(name);
    element.textContent = text;
    element.className = kind;
    if (name === "button") element.type = "button";
    return element;
  }

  async function copyText(button) {
    await navigator.clipboard?.writeText(storedText(button.closest(".turn")));
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 900);
  }

  function openSource(button) {
    const source = $(`#source-${button.dataset.turn}-${button.dataset.number}`);
    if (!source) return;
    source.closest("details").open = true;
    source.scrollIntoView({ block: "nearest", behavior: "smooth" });
    document.querySelectorAll(".source.shown").forEach((other) => other.classList.remove("shown"));
    source.classList.add("shown");
  }

  function openRename(button) {
    const entry = button.closest(".entry"), title = $(".title", entry);
    const box = made("input", "", "renaming");
    box.value = storedText(entry);
    const opened = box.value;
    title.replaceWith(box);
    let finished = false; // taking the box away makes it lose the focus
    const finish = (keep) => {
      if (finished) return;
      finished = true;
      box.replaceWith(title);
      if (keep && box.value.trim() && box.value !== opened) {
        report("chat", { act: "rename", conversation: entry.dataset.conversation, text: box.value });
      }
    };
    box.addEventListener("blur", () => finish(true));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") finish(false);
    });
    box.focus();
    box.select();
  }

  // --- folding, colours ----------------------------------------------------------------------------------------------
  function fold(part, open = !document.body.classList.contains(`${part}-open`)) {
    if (document.body.classList.contains(`${part}-open`) === open) return;
    document.body.classList.toggle(`${part}-open`, open);
    if (innerWidth >= 900) remember(`chatlab-${part}`, open ? "open" : "closed");
  }

  function switchTheme() {
    const dark = document.body.classList.toggle("dark");
    remember("chatlab-theme", dark ? "dark" : "light");
  }

  function settle() {
    const wide = innerWidth >= 900;
    fold("side", wide && remembered("chatlab-side") !== "closed");
    fold("panel", wide && remembered("chatlab-panel") === "open");
    const theme = remembered("chatlab-theme");
    if (theme) document.body.classList.toggle("dark", theme === "dark");
  }

  // --- the view: at the end unless somebody reads above; the conversation in the address -------------------------------
  let atEnd = true;
  let fromEnd = null; // where the view stood before earlier messages were put above it

  function follow() {
    const scroll = $("#scroll");
    if (!scroll) return;
    if (!scroll.dataset.followed) {
      scroll.dataset.followed = "yes";
      scroll.addEventListener("scroll", () => { atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60; }, { passive: true });
    }
    if (fromEnd !== null && scroll.scrollHeight > fromEnd.height) {
      scroll.scrollTop = scroll.scrollHeight - fromEnd.height + fromEnd.top;
      fromEnd = null;
    } else if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  let shown = null;

  function address() {
    const place = $("#conversation");
    if (!place || place.dataset.shown === shown) return;
    const url = new URL(location.href), before = shown;
    shown = place.dataset.shown;
    if (shown) url.searchParams.set("c", shown); else url.searchParams.delete("c");
    if (url.href !== location.href) history.replaceState(history.state, "", url);
    if (before !== null) { atEnd = true; editing = null; }
  }

  function reopen() {
    if (!editing) return;
    const turn = $(`#transcript .turn[data-turn="${CSS.escape(editing.turn)}"]`);
    if (turn && !$(".editor", turn)) showEditor(turn, editing.text);
  }

  // --- what is typed and not yet sent outlives a reload ----------------------------------------------------------------
  let restored = false; // a box that is drawn anew just after a message was sent would get that message back

  function draft() {
    const box = $("#composer textarea");
    if (!box || box.dataset.kept) return;
    box.dataset.kept = "yes";
    const key = "chatlab-draft";
    const write = (value) => { try { sessionStorage.setItem(key, value); } catch { /* private window */ } };
    box.addEventListener("input", () => { if (!$(".top .badge")) write(box.value); });
    let old = "";
    try { old = sessionStorage.getItem(key) || ""; } catch { /* private window */ }
    if (old && !box.value && !restored) { box.value = old; box.dispatchEvent(new Event("input", { bubbles: true })); }
    restored = true;
    setInterval(() => { if (!box.value && !$(".top .badge")) write(""); }, 1000);
  }

  let due = false;
  renderIn(document.documentElement);
  new MutationObserver((records) => {
    for (const { addedNodes } of records) {
      for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE) renderIn(node);
    }
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; address(); reopen(); follow(); draft(); });
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });

  if (document.body) settle(); else document.addEventListener("DOMContentLoaded", settle);
  addEventListener("load", settle);
  matchMedia("(max-width: 899px)").addEventListener("change", settle);
})();
