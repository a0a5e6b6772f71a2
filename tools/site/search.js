// The search of the book: finds terms, functions, sections and sounds, by keyboard and by touch, from a server and from a file.
(() => {
  "use strict";
  const home = new URL("..", document.currentScript.src), most = 12;

  // ---- words: letters and digits, without capitals and accents; what an underscore joins is apart
  const fold = (text) => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/iz(?=e|ing|at)/g, "is");  // ize is ise
  const words = (text) => fold(text).match(/[\p{L}\p{N}]+/gu) || [];
  const filler = new Set("a an and are do does for how i in is it me my of on own the to what where which why".split(" "));
  const singular = (w) => w.length < 4 || /(ss|us|is)$/.test(w) ? w : w.replace(/ies$/, "y").replace(/(ss|sh|ch|x)es$|s$/, "$1");
  const kept = new Map();
  const forms = (w) => {  // a word, its singular and its plural
    if (!kept.has(w)) kept.set(w, [...new Set([w, singular(w), `${singular(w)}s`, singular(w).replace(/y$/, "ies")])]);
    return kept.get(w);
  };
  const asked = (query) => {
    const all = words(query), long = all.filter((w) => w.length > 1), told = long.filter((w) => !filler.has(w));
    return told.length ? told : long;
  };

  // how well the word `w` is met in `hay`, whose words stand between blanks: 0 not, 1 as the beginning of a word, 2 as a word
  const met = (w, hay) => forms(w).some((f) => hay.includes(` ${f} `)) ? 2 : hay.includes(` ${w}`) ? 1 : 0;
  const hay = (...texts) => ` ${texts.map((t) => words(t).join(" ")).join(" ")} `;
  const name = (text) => words(text).map(singular).join(" ");

  // ---- the index
  const prepare = (e) => {
    const names = [e.title, e.title.split(".").pop(), ...(e.also || [])], params = (e.params || []).map(([n]) => n);
    const [module = ""] = e.where;
    const pieces = e.title.replace(/([a-z])([A-Z])/g, "$1 $2");  // EventTracker is found by its parts too
    return { ...e, names: names.map(name), params: e.params || [], paramNames: params.map(name),
      fullNames: e.params ? [`${module}.${e.title}`, `${module.split(".").pop()}.${e.title}`].map(name) : [],
      titleHay: hay(...names, pieces, words(e.title).join("")), paramHay: hay(...params), whereHay: hay(...e.where),
      soundHay: e.sounds ? hay(...e.sounds.map(([label]) => label), "hear listen sound") : "", textHay: hay(e.text || "", ...(e.params || []).flat()) };
  };
  let index = null, loading = null;
  const load = () => loading ||= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = new URL("site_libs/search-index.js", home);
    script.onload = () => { index = window.sirenbookIndex.map(prepare); done(); };
    script.onerror = () => { loading = null; failed(); };
    document.head.append(script);
  });

  // ---- ranking: a name, the beginning of a name, a title, a parameter, a sound, the text
  const named = { command: 45, term: 40, class: 30, function: 30, method: 25, constant: 25, page: 15, section: 10 };
  const often = (w, hay) => Math.min(5, hay.split(` ${singular(w)}`).length);
  const score = (e, query, list) => {
    const title = list.map((w) => met(w, e.titleHay)), param = list.map((w) => e.paramNames.includes(singular(w)) ? 3 : met(w, e.paramHay));
    let sum = title.some(Boolean) ? named[e.kind] : e.kind === "term" ? 20 : 10;
    for (const [i, w] of list.entries()) {
      let best = Math.max([0, 40, 60][title[i]], [0, 0, 50, 70][param[i]], [0, 30, 45][met(w, e.soundHay)], [0, 12, 20][met(w, e.whereHay)]);
      if (!best && met(w, e.textHay)) best = 5 * met(w, e.textHay) + often(w, e.textHay);
      if (!best) return 0;
      sum += best / list.length;
    }
    const whole = name(query), phrase = ` ${words(query).join(" ")}`, short = Math.min(99, e.title.length);
    if (e.names.includes(whole) || e.fullNames.includes(whole)) return sum + 1000 - (e.names[0] === whole ? 0 : 50) - (e.text ? 0 : 500);
    if (e.kind === "constant") return sum;
    if (e.names.some((n) => n.startsWith(whole))) return sum + 600 - short;
    if (title.every(Boolean)) return sum + 400 - short;
    if (list.every((w, i) => title[i] || param[i] > 1)) return sum + 250;
    return sum + (list.length > 1 && (e.textHay.includes(phrase) || e.soundHay.includes(phrase)) ? 60 : 0);
  };
  const ranked = (query, list) => index.map((e) => [score(e, query, list), e]).filter(([s]) => s)
    .sort((a, b) => b[0] - a[0]).slice(0, most).map(([, e]) => e);

  // a word that is nowhere, as a title of the book spells it: one letter off, two in a long word, or with another ending
  const off = (a, b) => {
    let before = [], row = Array.from({ length: b.length + 1 }, (_, j) => j);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++) {
        next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] !== b[j - 1]));
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
      }
      [before, row] = [row, next];
    }
    return row[b.length];
  };
  const respelt = (w) => {
    if (w.length < 4 || index.some((e) => met(w, e.titleHay) || met(w, e.textHay))) return w;
    const known = [...new Set(index.flatMap((e) => e.titleHay.trim().split(" ")))], allowed = w.length > 7 ? 2 : 1;
    const near = known.filter((k) => Math.abs(k.length - w.length) <= allowed).map((k) => [off(w, k), k]).sort((a, b) => a[0] - b[0])[0];
    if (near && near[0] <= allowed) return near[1];
    return known.find((k) => k.startsWith(w.slice(0, Math.max(5, Math.ceil(.6 * w.length))))) || w;
  };

  // where nothing has all the words: those that one entry has, of the entry that has most of them and has them best
  const fewer = (list) => index.map((e) => [list.filter((w) => score(e, w, [w])), e]).filter(([some]) => some.length)
    .map(([some, e]) => [some, score(e, some.join(" "), some)]).sort((a, b) => b[0].length - a[0].length || b[1] - a[1])[0]?.[0];

  const find = (query) => {
    const list = asked(query), found = ranked(query, list);
    if (found.length || !list.length) return { list, found };
    let other = list.map(respelt), near = ranked(other.join(" "), other);
    if (!near.length && (other = fewer(other))) near = ranked(other.join(" "), other);
    return near.length ? { list: other, found: near, instead: other.join(" ") } : { list, found };
  };

  // ---- a result, drawn
  const make = (tag, kind, ...inside) => {
    const e = document.createElement(tag);
    if (kind) e.className = kind;
    e.append(...inside);
    return e;
  };
  const pattern = (list) => {
    const all = list.flatMap(forms).sort((a, b) => b.length - a.length);
    return new RegExp(`(^|[^\\p{L}\\p{N}])(${all.join("|")})`, "gu");
  };
  const marked = (text, list) => {  // the text, with the words of the query marked
    const pieces = [], folded = fold(text);
    let at = 0;
    for (const m of folded.length === text.length ? folded.matchAll(pattern(list)) : []) {
      const begin = m.index + m[1].length, end = begin + m[2].length;
      pieces.push(text.slice(at, begin), make("mark", "", text.slice(begin, end)));
      at = end;
    }
    return [...pieces, text.slice(at)];
  };
  const snippet = (text, list, length = 160) => {  // the part of the text where most of the words stand
    if (text.length <= length) return text;
    const folded = fold(text), at = [...folded.matchAll(pattern(list))].map((m) => [m.index, m[2]]);
    const worth = ([i]) => new Set(at.filter(([j]) => j >= i && j < i + length - 40).map(([, w]) => singular(w))).size;
    const best = at.reduce((a, b) => (worth(b) > worth(a) ? b : a), at[0] || [0, ""])[0];
    if (best < length - 60) return cut(text, 0, length);
    const sentence = text.lastIndexOf(". ", best) + 2;
    return cut(text, best - sentence < 70 ? sentence : text.indexOf(" ", best - 50) + 1, length);
  };
  const cut = (text, begin, length) => {
    const end = begin + length < text.length ? text.lastIndexOf(" ", begin + length) : text.length;
    return (begin && text.slice(begin - 2, begin) !== ". " ? "… " : "") + text.slice(begin, end) + (end < text.length ? " …" : "");
  };

  const drawn = (e, list, i) => {
    const a = make("a", "sb-result");
    Object.assign(a, { href: new URL(e.href, home), id: `sb-result-${i}`, tabIndex: -1 });
    a.setAttribute("role", "option");
    a.setAttribute("aria-selected", "false");
    a.dataset.kind = e.kind;
    const elsewhere = hay(e.title, e.text || "", ...e.where), rest = list.filter((w) => !met(w, elsewhere));
    const param = e.params.filter(([n, text]) => list.some((w) => met(w, hay(n)) === 2) || rest.some((w) => met(w, hay(n, text)))).slice(0, 3);
    const title = make("span", "sb-title"), call = ["function", "method"].includes(e.kind);
    if (e.fullNames.length) {
      const code = make("code", "", ...marked(e.title, list));
      if (call) code.append(make("span", "", param.length ? `(… ${param.map(([n]) => n).join(", ")})` : "()"));
      title.append(code);
    } else title.append(...marked(e.title, list));
    const sound = (e.sounds || []).filter(([label]) => list.some((w) => met(w, hay(label))));
    if (sound.length) {  // its line leads to the player, and so does the whole result if its title is about something else
      a.dataset.hear = new URL(`${e.href.split("#")[0]}#${sound[0][1]}`, home);
      if (!list.some((w) => met(w, e.titleHay))) a.href = a.dataset.hear;
    }
    a.append(title, make("span", "sb-kind", e.sounds ? `${e.kind} with sound` : e.kind));
    if (e.where.length) a.append(make("span", "sb-where", e.where.join(" › ")));
    const text = e.kind === "term" ? e.text : snippet(e.text || "", list);
    if (text && !(sound.length && rest.length)) a.append(make("span", "sb-text", ...marked(text, list)));
    for (const [n, text] of param) a.append(make("span", "sb-param", make("code", "", n), ": ", ...marked(text, list)));
    if (sound.length) {
      const icon = make("i", "bi bi-volume-up");
      icon.setAttribute("aria-hidden", "true");
      a.append(make("span", "sb-sound", icon, ...sound.slice(0, 3).flatMap(([s], j) => [j ? ", " : "Hear ", ...marked(s, list)])));
    }
    return a;
  };

  // ---- the box, what it has found, and the panel of a narrow screen
  const box = document.querySelector("#quarto-search");
  if (!box) return;
  const input = box.querySelector("input"), place = box.parentElement;
  const list = make("div"), note = make("p", "sb-note"), results = make("div", "sb-results", list, note), count = make("span", "visually-hidden");
  const close = make("button", "btn sb-close", make("i", "bi bi-x-lg")), bar = make("div", "sb-bar", close);
  const dialog = make("dialog", "sb-search-dialog", bar);
  const set = (e, values) => Object.entries(values).forEach(([k, v]) => e.setAttribute(k, v));
  Object.assign(list, { id: "sb-results" });
  set(list, { role: "listbox", "aria-label": "Results" });
  set(count, { role: "status", "aria-live": "polite" });
  set(input, { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "sb-results", "aria-haspopup": "listbox" });
  set(close, { type: "button", "aria-label": "Close the search" });
  set(dialog, { "aria-label": "Search" });
  box.append(count);
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
  const show = (found, words, ...said) => {
    list.replaceChildren(...found.map((e, i) => drawn(e, words, i)));
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
      return dialog.open ? show([], [], "Finds terms, functions, sections and sounds.", ...glossary()) : shut();
    }
    const { list: words, found, instead } = find(query), n = found.length;
    if (!n) show([], [], "No results for ", make("strong", "", query), ".", ...glossary());
    else if (instead) show(found, words, "No results for ", make("strong", "", query), ". These are for ", make("strong", "", instead), ".");
    else show(found, words);
    const told = `${n === most ? "The first " : ""}${n} ${n > 1 ? "results" : "result"}`;
    tell(n ? `${told} for ${instead || query}.` : `No results for ${query}.`);
  };
  const begin = () => load().then(look, () => show([], [], "The index of the search could not be loaded."));

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
  document.querySelectorAll(".sb-search-button").forEach((b) => b.addEventListener("click", open));
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
