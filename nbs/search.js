// The search of the book: MiniSearch finds terms, names, commands, sections and sounds; this is its box, by keyboard and by touch,
// from a server and from a file. The index and MiniSearch are loaded when the box first gets the focus.
(() => {
  "use strict";
  const home = new URL(".", document.currentScript.src), most = 12, theirs = document.querySelector(".smalldocs-search");
  if (!theirs) return;  // Quarto has a search of its own

  // ---- words: letters and digits without capitals and accents, by their stems; what an underscore joins is apart
  const fold = (text) => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/iz(?=e|ing|at)/g, "is");  // ize is ise
  const words = (text) => fold(text).match(/[\p{L}\p{N}]+/gu) || [];
  const singular = (w) => w.length < 4 || /(ss|us|is)$/.test(w) ? w : w.replace(/ies$/, "y").replace(/(ss|sh|ch|x)es$|s$/, "$1");
  const stem = (w) => singular(w).replace(/(?<=..is)(ations?|ing|ed?)$/, "");  // quantisation, quantising
  const filler = new Set("a an and are do does for how i in is it me my of on own the to what where which why".split(" "));
  const asked = (query) => {
    const all = words(query).filter((w) => w.length > 1), plain = all.filter((w) => !filler.has(w));
    return plain.length ? plain : all;
  };
  const name = (text) => asked(text).map(singular).join(" ");

  // ---- the index
  const weight = { command: 1.5, term: 1.5, page: 1.2, class: 1.2, function: 1.2, method: 1, constant: 0.15, section: 0.8 };
  const apart = (title) => `${title} ${title.replace(/([a-z])([A-Z])/g, "$1 $2")} ${words(title).join("")}`;
  const field = {
    id: (e) => e.id, title: (e) => apart(e.title), also: (e) => (e.also || []).join(" "),
    params: (e) => e.params?.map(([n]) => n).join(" "), about: (e) => e.params?.map(([, what]) => what).join(" "),
    sounds: (e) => e.sounds && `${e.sounds.map(([label]) => label).join(" ")} hear listen sound`,
    where: (e) => e.where.join(" "), text: (e) => e.text,
  };
  let index = null, engine = null, loading = null;
  const script = (file) => new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: new URL(file, home), onload: done, onerror: failed }));
  });
  const load = () => loading ||= Promise.all(["minisearch.js", "search-index.js"].map(script)).then(() => {
    engine = new MiniSearch({ fields: Object.keys(field).slice(1), tokenize: words, processTerm: stem, extractField: (e, f) => field[f](e),
      searchOptions: { boost: { title: 6, also: 6, params: 4, sounds: 2 }, prefix: (w) => w.length > 1, combineWith: "AND" } });
    index = window.sirenbookIndex.map((e, id) => {
      const [module] = e.where, last = e.title.split(".").pop(), names = [e.title, last, ...(e.also || [])];
      if (module?.startsWith("sirenbook.")) names.push(`${module}.${e.title}`, `${module.slice(10)}.${e.title}`);
      return { ...e, id, names: names.map(name), params: e.params || [] };
    });
    engine.addAll(index);
  }).catch((e) => { loading = null; throw e; });

  // what bears the name that is asked for comes first, then what begins with it, then what one of the words names
  const boost = (query) => {
    const whole = name(query), last = fold(query.trim()).split(".").pop();
    return (id, term) => {
      const { kind, title, names } = index[id], at = kind === "constant" ? -1 : names.indexOf(whole);
      if (at >= 0) return weight[kind] * (50 - Math.min(at, 9)) * (fold(title) === last ? 1.2 : 1);
      return weight[kind] * (kind === "constant" ? 1 : names.some((n) => n.startsWith(whole)) ? 4 : names.includes(term) ? 2 : 1);
    };
  };
  const search = (list, query = list.join(" "), more = {}) => engine.search(list.join(" "), { boostDocument: boost(query), ...more });

  // where nothing has all the words: the words as a title of the book spells them, or those that one entry has
  const respelt = (w) => {
    if (engine.search(w).length) return [w];
    const letters = w.length > 7 ? [1, 2] : w.length > 3 ? [1] : [];  // as few off as may be
    const near = letters.flatMap((fuzzy) => engine.search(w, { fuzzy, prefix: false, fields: ["title", "also"] }))[0]?.terms[0];
    return near ? [index.flatMap((e) => words(e.title)).find((t) => stem(t) === near) || near] : [];
  };
  const find = (query) => {
    const list = asked(query), give = (found, instead) => ({ found: found.slice(0, most), instead });
    const found = search(list, query);
    if (found.length || !list.length) return give(found);
    let other = list.flatMap(respelt);
    if (!search(other).length) other = search(other, query, { combineWith: "OR" })[0]?.queryTerms || [];
    return other.length ? give(search(other), other.join(" ")) : give([]);
  };

  // ---- a result, drawn
  const make = (tag, kind, ...inside) => {
    const e = document.createElement(tag);
    if (kind) e.className = kind;
    e.append(...inside);
    return e;
  };
  const set = (e, values) => { for (const [k, v] of Object.entries(values)) e.setAttribute(k, v); };
  const icon = (kind) => {
    const e = make("i", `bi bi-${kind}`);
    e.setAttribute("aria-hidden", "true");
    return e;
  };
  const places = (text, terms) => {  // where the words that were found begin and end
    const folded = fold(text);
    if (folded.length !== text.length || !terms.length) return [];
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${[...terms].sort((a, b) => b.length - a.length).join("|")})`, "gu");
    return [...folded.matchAll(pattern)].map((m) => [m.index, m.index + m[0].length]);
  };
  const marked = (text, terms) => {
    const pieces = [];
    let at = 0;
    for (const [begin, end] of places(text, terms)) {
      pieces.push(text.slice(at, begin), make("mark", "", text.slice(begin, end)));
      at = end;
    }
    return [...pieces, text.slice(at)];
  };
  const snippet = (text, terms, length = 160) => {  // the part of the text where most of the words stand
    if (text.length <= length) return text;
    const at = places(text, terms), near = ([i]) => new Set(at.filter(([j]) => j >= i && j < i + length - 40).map(([j, k]) => text.slice(j, k))).size;
    const best = at.reduce((a, b) => (near(b) > near(a) ? b : a), at[0] || [0])[0];
    const begin = best < length - 60 ? 0 : text.indexOf(" ", best - 50) + 1, end = begin + length;
    return `${begin ? "… " : ""}${end < text.length ? `${text.slice(begin, text.lastIndexOf(" ", end))} …` : text.slice(begin)}`;
  };
  const drawn = ({ id, terms, match }, i) => {
    const e = index[id], a = make("a", "sb-result"), has = (text) => places(text, terms).length > 0;
    Object.assign(a, { href: new URL(e.href, home), id: `sb-result-${i}`, tabIndex: -1 });
    set(a, { role: "option", "aria-selected": "false" });
    a.dataset.kind = e.kind;
    const within = new Set(Object.values(match).flat()), inTitle = within.has("title") || within.has("also");
    const param = within.has("params") || within.has("about") ? e.params.filter(([n, what]) => has(n) || (!inTitle && has(what))).slice(0, 3) : [];
    const sound = within.has("sounds") ? (e.sounds || []).filter(([label]) => has(label)) : [];
    const title = make("span", "sb-title");
    if (["function", "method", "class", "constant"].includes(e.kind)) {
      const code = make("code", "", ...marked(e.title, terms)), shown = param.length ? `(… ${param.map(([n]) => n).join(", ")})` : "()";
      if (["function", "method"].includes(e.kind)) code.append(make("span", "", shown));
      title.append(code);
    } else title.append(...marked(e.title, terms));
    if (sound.length) {  // its line leads to the player, and so does the whole result if its title is about something else
      a.dataset.hear = new URL(`${e.href.split("#")[0]}#${sound[0][1]}`, home);
      if (!inTitle) a.href = a.dataset.hear;
    }
    a.append(title, make("span", "sb-kind", e.sounds ? `${e.kind} with sound` : e.kind));
    if (e.where.length) a.append(make("span", "sb-where", e.where.join(" › ")));
    const text = e.kind === "term" ? e.text : snippet(e.text || "", terms);
    if (text && !(sound.length && !within.has("text"))) a.append(make("span", "sb-text", ...marked(text, terms)));
    for (const [n, what] of param) a.append(make("span", "sb-param", make("code", "", ...marked(n, terms)), ...marked(what ? `: ${what}` : "", terms)));
    if (sound.length) {
      const labels = sound.slice(0, 3).flatMap(([label], j) => [j ? ", " : "Hear ", ...marked(label, terms)]);
      a.append(make("span", "sb-sound", icon("volume-up"), ...labels));
    }
    return a;
  };

  // ---- the box, what it has found, and the panel of a narrow screen
  const box = make("div", "sb-search"), input = make("input", "form-control form-control-sm"), key = make("kbd", "", "/");
  const place = theirs.parentElement;
  const list = make("div"), note = make("p", "sb-note"), results = make("div", "sb-results", list, note), count = make("span", "visually-hidden");
  const close = make("button", "btn sb-close", icon("x-lg")), button = make("button", "btn sb-search-button", icon("search"));
  const bar = make("div", "sb-bar", close);
  const dialog = make("dialog", "sb-search-dialog", bar);
  Object.assign(list, { id: "sb-results" });
  set(list, { role: "listbox", "aria-label": "Results" });
  set(count, { role: "status", "aria-live": "polite" });
  set(key, { "aria-hidden": "true" });
  set(button, { type: "button", "aria-label": "Search the book", "aria-haspopup": "dialog" });
  set(input, { type: "search", placeholder: "Search", "aria-label": "Search the book", "aria-keyshortcuts": "/ Control+K", autocomplete: "off",
    autocapitalize: "off", spellcheck: "false", enterkeyhint: "go" });
  set(input, { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "sb-results", "aria-haspopup": "listbox" });
  set(close, { type: "button", "aria-label": "Close the search" });
  set(dialog, { "aria-label": "Search" });
  set(box, { id: "quarto-search", role: "search" });
  box.append(icon("search"), input, key, count);
  theirs.remove();
  document.querySelector(".quarto-secondary-nav .container-fluid")?.append(button);
  results.hidden = true;
  document.body.append(dialog, results);

  const narrow = matchMedia("(max-width: 991.98px)");
  const settle = () => {  // one box and one list, where the width of the screen wants them
    shut();
    if (dialog.open) dialog.close();
    (narrow.matches ? bar : place).prepend(box);
    (narrow.matches ? dialog : document.body).append(results);
    results.removeAttribute("style");
  };
  const beside = () => {  // under the box, over the page
    if (narrow.matches || results.hidden) return;
    const at = box.getBoundingClientRect();
    Object.assign(results.style, { left: `${at.left}px`, top: `${at.bottom + 6}px`,
      width: `min(36rem, ${innerWidth - at.left - 16}px)`, maxHeight: `${innerHeight - at.bottom - 22}px` });
  };

  let active = -1;
  const options = () => [...list.children];
  const choose = (i) => {
    active = i;
    options().forEach((o, j) => o.setAttribute("aria-selected", String(j === i)));
    if (i < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", options()[i].id);
    options()[i].scrollIntoView({ block: "nearest" });
  };
  const shut = () => {
    choose(-1);
    results.hidden = true;
    input.setAttribute("aria-expanded", "false");
  };
  let telling = 0;
  const tell = (text) => {
    clearTimeout(telling);
    telling = setTimeout(() => { count.textContent = text; }, 400);
  };
  const glossary = () => {
    const term = index.find((e) => e.kind === "term");
    if (!term) return [];
    const link = make("a", "", "glossary");
    link.href = new URL(term.href.split("#")[0], home);
    return [" Every term of the book is in the ", link, "."];
  };
  const show = (found, ...said) => {
    list.replaceChildren(...found.map(drawn));
    note.replaceChildren(...said);
    if (said.length) found.length ? results.prepend(note) : results.append(note);
    choose(-1);
    results.hidden = false;
    results.scrollTop = 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    beside();
  };
  const look = () => {
    const query = input.value.trim();
    if (document.activeElement !== input) return;
    if (!asked(query).length) {
      tell("");
      return dialog.open ? show([], "Finds terms, functions, commands, sections and sounds.", ...glossary()) : shut();
    }
    const { found, instead } = find(query), n = found.length;
    if (!n) show([], "No results for ", make("strong", "", query), ".", ...glossary());
    else if (instead) show(found, "No results for ", make("strong", "", query), ". These are for ", make("strong", "", instead), ".");
    else show(found);
    const told = `${n === most ? "The first " : ""}${n} ${n > 1 ? "results" : "result"}`;
    tell(n ? `${told} for ${instead || query}.` : `No results for ${query}.`);
  };
  const begin = () => load().then(look, () => show([], "The index of the search could not be loaded."));

  const open = () => {
    if (narrow.matches && !dialog.open) dialog.showModal();
    input.focus();
    input.select();
  };
  const leave = () => {
    shut();
    if (dialog.open) dialog.close();
  };
  input.addEventListener("focus", begin);
  input.addEventListener("input", begin);
  input.addEventListener("blur", (ev) => { if (!dialog.open && !results.contains(ev.relatedTarget)) shut(); });
  input.addEventListener("keydown", (ev) => {
    const n = options().length, shown = !results.hidden && n > 0;
    const moves = { ArrowDown: () => (active + 1) % n, ArrowUp: () => (active > 0 ? active : n) - 1 };
    if (ev.key === "Escape") {
      ev.preventDefault();
      if (!dialog.open && !results.hidden) return shut();
      input.value = "";
      leave();
      input.blur();
    } else if (ev.isComposing || ev.ctrlKey || ev.metaKey || ev.altKey || ev.shiftKey) return;
    else if (ev.key === "Tab" && !dialog.open && !results.hidden && note.querySelector("a")) { ev.preventDefault(); note.querySelector("a").focus(); }
    else if (ev.key === "ArrowDown" && !shown) begin();
    else if (shown && ev.key in moves) { ev.preventDefault(); choose(moves[ev.key]()); }
    else if (shown && active >= 0 && (ev.key === "Home" || ev.key === "End")) { ev.preventDefault(); choose(ev.key === "Home" ? 0 : n - 1); }
    else if (shown && ev.key === "Enter") { ev.preventDefault(); options()[Math.max(0, active)].click(); }
  });
  results.addEventListener("focusout", () => { if (!dialog.open) shut(); });
  results.addEventListener("mousedown", (ev) => ev.preventDefault());  // the box keeps the focus
  results.addEventListener("click", (ev) => {
    const a = ev.target.closest("a");
    if (!a || ev.ctrlKey || ev.metaKey || ev.shiftKey) return;
    if (ev.target.closest(".sb-sound")) a.href = a.dataset.hear;
    leave();
  });
  close.addEventListener("click", leave);
  dialog.addEventListener("click", (ev) => { if (ev.target === dialog) leave(); });
  dialog.addEventListener("close", shut);
  button.addEventListener("click", open);
  document.addEventListener("keydown", (ev) => {
    const here = document.activeElement, typing = here && (/^(INPUT|TEXTAREA|SELECT)$/.test(here.tagName) || here.isContentEditable);
    const slash = ev.key === "/" && !typing && !ev.ctrlKey && !ev.metaKey && !ev.altKey;
    if (slash || ((ev.ctrlKey || ev.metaKey) && !ev.altKey && !ev.shiftKey && ev.key.toLowerCase() === "k")) { ev.preventDefault(); open(); }
  });
  addEventListener("resize", beside);
  addEventListener("scroll", beside, { capture: true, passive: true });
  narrow.addEventListener("change", settle);
  settle();
})();
