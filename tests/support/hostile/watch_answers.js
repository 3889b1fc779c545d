// what is there that no answer may draw, and a click on everything in one.
window.refused = [];
const TAGS = new Set(("a b blockquote br button caption code del details div em h1 h2 h3 h4 h5 h6 hr i li mark nav ol p pre progress "
  + "s section small span strong summary table tbody td th thead tr ul circle line path svg").split(" "));
const READ = new Set("a blockquote br code em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong table tbody td th thead tr ul".split(" "));
const MATH = "http://www.w3.org/1998/Math/MathML"; // a formula, typeset
const CONTROL = "[data-act], [data-press], [data-fold], [data-theme-switch]";
window.wrongIn = (root) => {
  const wrong = [];
  for (const element of root.querySelectorAll(".html *, .toast-message-text *")) {
    const name = element.localName, read = element.closest(".body, .pane-text"), inside = read && read !== element;
    const cite = element.matches("button.cite");
    if (!(inside && !cite ? READ : TAGS).has(name) && element.namespaceURI !== MATH) wrong.push(`element ${name}`);
    for (const { name: attribute, value } of element.attributes) {
      if (/^on|^(src|srcset|srcdoc|action|formaction|background|ping|name|xlink:href|data-key)$/.test(attribute)) wrong.push(`${name} ${attribute}`);
      if (attribute === "style" && /url|image|position/.test(value)) wrong.push(`style ${value}`);
      if (inside && !cite && /^data-|^id$/.test(attribute)) wrong.push(`${name} ${attribute} in an answer`);
      if (inside && !cite && attribute === "class" && !/^(dots|caret|formula|no-picture)$/.test(value)) wrong.push(`class ${value}`);
    }
    if (name === "a") {
      const safe = /^https?:$/.test(element.protocol) && element.target === "_blank" && /noopener/.test(element.rel);
      if (element.hasAttribute("href") && !safe) wrong.push(`link ${element.outerHTML}`);
    }
  }
  for (const control of root.querySelectorAll(CONTROL)) {
    if (!control.matches("button") || !control.closest(".html")) wrong.push(`control ${control.outerHTML.slice(0, 200)}`);
  }
  for (const drawn of root.querySelectorAll(".katex, .mermaid, iframe, object, embed, .encoded-html")) {
    wrong.push(`a diagram, a formula, a frame: ${drawn.outerHTML.slice(0, 200)} in ${drawn.parentElement?.outerHTML.slice(0, 200)}`);
  }
  if (window.hacked !== undefined) wrong.push("a script ran");
  return wrong;
};
const look = () => { const live = document.querySelector("#live"); if (live) refused.push(...wrongIn(live)); };
new MutationObserver(() => queueMicrotask(look)) // after the page's own observer, which came later
  .observe(document, { childList: true, subtree: true });
addEventListener("click", (event) => { if (event.target.closest("a")) event.preventDefault(); }, true);
window.said = () => [...document.querySelectorAll("[id^=bridge-] :is(textarea, input)")].map((box) => box.value).join("|")
  + document.body.className + document.querySelectorAll(".editor, .renaming, .shown").length;
window.clickAll = (within) => {
  const before = said();
  let clicked = 0;
  for (const element of document.querySelectorAll(within)) {
    if (element.matches(".cite")) continue;
    element.click?.();
    element.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
    clicked += 1;
  }
  return { clicked, changed: before !== said() };
};
